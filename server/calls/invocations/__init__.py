"""Each kind of call while it is handled.

`invocation.py` runs a handler, `streams.py` one that streams its result, `cached.py` one whose result
is cached, `batches.py` several calls one after the other in one worker. `inputs.py` has arguments that
stream. A call sees its server as the `CallHost` of `host.py`.
"""
