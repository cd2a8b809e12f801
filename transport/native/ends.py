"""What the native transport makes for a server, and for a client."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...backends.base import Loop
from ...errors import UsageError
from ..base import Bounds, ClientEnd, ClientHost, ServerEnd, ServerHost, Transport
from .endpoints import check_endpoint

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
