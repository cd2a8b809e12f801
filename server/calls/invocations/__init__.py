"""One class for each kind of call, from its start to its reply.

`invocation.py` runs a handler, `streams.py` one that streams its result, `cached.py` one whose
result is cached. `batches.py` runs several calls in one worker, one after the other. `inputs.py`
has arguments that stream. `host.py` is the server's interface for calls (`CallHost`).
"""
