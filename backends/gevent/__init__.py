"""The gevent backend: `server.py` is a server's loop, `client.py` is a client's loop."""
