"""Twisted: `loop.py` is the reactor as a loop, `service.py` makes a server an IService."""
