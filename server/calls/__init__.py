"""Calls, from acceptance to reply.

`dispatcher.py` starts a call, or `refusals.py` refuses it. `batching.py` and `maps/` start many
calls at once. `launcher.py` starts calls that had to wait. `active.py` tracks all calls until they
end. `invocations/` has a class for each kind of call.
"""
