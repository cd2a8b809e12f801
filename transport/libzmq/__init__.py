"""The libzmq transport: libzmq's threads do the I/O. Only `pump.py` reads the sockets' events."""

from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import zmq

    ZmqContext: TypeAlias = zmq.Context[Any]
