"""Maps: many calls of one method in one message.

`beginning.py` starts them. `together.py` runs the calls of an inline method, `slices.py` those of a
worker method. `session.py` gathers their outcomes.
"""
