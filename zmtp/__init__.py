"""ZMTP 3.1, ZeroMQ's wire protocol (https://rfc.zeromq.org/spec/37/), without I/O.

It turns received bytes into messages, and messages into buffers to send. It knows no socket, clock
or event loop. `connection.Connection` is one end of one connection; the other files are its parts.
"""
