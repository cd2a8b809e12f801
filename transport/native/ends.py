"""What the native transport makes for a server, and for a client."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any

from ...backends.base import Loop
from ...errors import UsageError
from ..base import Bounds, ClientEnd, ClientHost, ServerEnd, ServerHost, Transport
from .endpoints import check_endpoint

if TYPE_CHECKING:
    import zmq

    from ...security.curve import ClientKeys, ServerKeys


class Native(Transport):
    """Over tcp and ipc."""

    name = "native"

    def __init__(self, context: zmq.Context[Any] | None = None) -> None:
        if context is not None:
            raise UsageError(
                'a zmq.Context is libzmq\'s, and transport="native" uses none: leave out context, or say transport="libzmq"'
            )

    def server(self, loop: Loop, host: ServerHost, bounds: Bounds, keys: ServerKeys | None) -> ServerEnd:
        from .server import Listeners  # a client needs none of it

        _check_library(keys)
        return Listeners(loop, host, bounds, keys)

    def client(
        self, loop: Loop, host: ClientHost, endpoint: str, keys: ClientKeys | None, message: int
    ) -> ClientEnd:
        from .client import Connector

        _check_library(keys)
        check_endpoint(endpoint)
        return Connector(loop, host, endpoint, message, keys)


def _check_library(keys: object) -> None:
    """Raises UsageError for keys without the library that encrypts."""
    if keys is not None and importlib.util.find_spec("nacl") is None:
        raise UsageError(
            'keys need PyNaCl on the native transport: pip install "ringback[curve]", or say transport="libzmq"'
        )
