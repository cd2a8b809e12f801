"""The native transport: ZeroMQ's wire protocol on the event loop's own sockets, without threads.

`stream.py` is one connection, and `turns.py` shares the loop among connections. `server.py` listens
and accepts. `client.py` connects and reconnects, by means of `dialing.py`.
"""
