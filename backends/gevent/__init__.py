"""gevent: `server.py` is the loop of a server, `client.py` that of a client."""
