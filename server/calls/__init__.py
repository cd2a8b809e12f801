"""Calls, from acceptance to answer: `dispatcher.py` accepts and answers them, `invocation.py` runs a handler, `streams.py` one that
streams, `cached.py` one whose result is kept, `once.py` one that runs once for its key. A call sees its server as the `CallHost` of
`host.py`.
"""
