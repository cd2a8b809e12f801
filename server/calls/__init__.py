"""Calls, from acceptance to answer: `dispatcher.py` accepts and answers them, `invocation.py` runs a handler, `streams.py` one that
streams, `cached.py` one whose result is kept; `inputs.py` has arguments that stream, `launcher.py` begins calls that had to wait,
`memory.py` estimates what a call takes. A call sees its server as the `CallHost` of `host.py`.
"""
