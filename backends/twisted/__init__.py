"""The Twisted backend: `loop.py` adapts the reactor, `service.py` makes a server an IService."""
