"""Calls, from acceptance to reply.

`dispatcher.py` begins them, or `refusals.py` refuses them; `batching.py` and `maps/` begin many at
once. `active.py` has them until they end. `launcher.py` begins calls that had to wait. What each kind
of call does is in `invocations/`.
"""
