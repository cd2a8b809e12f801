"""Which calls run when: `scheduler.py` has the rules, `resources.py` what calls take, `limiter.py` limits that are learned."""
