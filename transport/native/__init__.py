"""ZeroMQ's wire on the loop's own sockets: what libzmq's threads do elsewhere is done here, in turns of the loop.

`stream.py` is one connection; `server.py` listens and accepts, `client.py` connects, again and again, by `dialing.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...backends.base import Loop
from ...errors import UsageError
from ..base import Bounds, ClientEnd, ClientHost, ServerEnd, ServerHost, Transport

if TYPE_CHECKING:
    import zmq

    from ...security.curve import ClientKeys, ServerKeys


class Native(Transport):
    """Over tcp and ipc, without keys."""

    name = "native"

    def __init__(self, context: zmq.Context[Any] | None = None) -> None:
        if context is not None:
            raise UsageError(
                'a zmq.Context is libzmq\'s, and transport="native" uses none: leave out context, or say transport="libzmq"'
            )

    def server(self, loop: Loop, host: ServerHost, bounds: Bounds, keys: ServerKeys | None) -> ServerEnd:
        from .server import Listeners  # a client needs none of it

        _check_keys(keys)
        return Listeners(loop, host, bounds)

    def client(
        self, loop: Loop, host: ClientHost, endpoint: str, keys: ClientKeys | None, message: int
    ) -> ClientEnd:
        from .client import Connector

        _check_keys(keys)
        check_endpoint(endpoint)
        return Connector(loop, host, endpoint, message)


def _check_keys(keys: object) -> None:
    if keys is not None:
        raise UsageError('keys are for transport="libzmq" as yet: the native transport has no CURVE')


def check_endpoint(endpoint: str) -> None:
    """Raises UsageError for one that cannot be had here."""
    if endpoint.startswith("inproc://"):
        raise UsageError(f'{endpoint} is for transport="libzmq": the native transport has tcp and ipc')
