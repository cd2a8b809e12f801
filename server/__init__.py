"""Who answers. `server.py` is what a user starts and stops; `declare/` is what a user declares, `connections/` ties a server to its
transport, `admission/` says which calls may go on, `calls/` runs them, `scheduling/` says when, `executors/` in which other process.
"""
