"""libzmq's sockets, read and written by threads of its own. `pump.py` is the only place that reads their events."""
