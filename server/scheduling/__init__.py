"""Which calls run when: `scheduler.py` has the rules, `resources.py` what calls take, `limiter.py` limits that are learned, `methods.py`
what a server keeps of each method that it serves.
"""
