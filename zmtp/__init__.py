"""ZMTP 3.1, the wire of ZeroMQ (https://rfc.zeromq.org/spec/37/), without I/O: bytes in, messages out; messages in, buffers out.

No socket, no clock, no loop. `connection.Connection` is one end of one connection; the others are its parts.
"""
