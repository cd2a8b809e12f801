"""The server side of ringback.

`server.py` is the class that a user starts and stops. `declare/` holds services and methods,
`connections/` ties a server to its transport, `admission/` applies access rules and rates,
`calls/` runs the calls, `scheduling/` decides their order, and `executors/` runs functions in
other processes.
"""
