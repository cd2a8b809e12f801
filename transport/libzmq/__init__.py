"""libzmq's sockets, read and written by threads of its own. `pump.py` is the only place that reads their events."""

from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import zmq

    ZmqContext: TypeAlias = zmq.Context[Any]
