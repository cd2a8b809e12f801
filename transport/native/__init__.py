"""ZeroMQ's wire on the loop's own sockets: what libzmq's threads do elsewhere is done here, in turns of the loop.

`stream.py` is one connection, `turns.py` how all have their turns; `server.py` listens and accepts, `client.py` connects, again and again,
by `dialing.py`.
"""
