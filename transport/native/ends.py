"""The native transport: makes the ends of servers and clients."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...backends.base import Loop
from ...errors import UsageError
from ..base import ClientEnd, ClientHost, ServerBounds, ServerEnd, ServerHost, Transport

if TYPE_CHECKING:
    from ...security.curve import ClientKeys, ServerKeys


class Native(Transport):
    """The native transport, for tcp, ipc and inproc."""

    name = "native"

    def __init__(self, context: Any = None) -> None:
        if context is not None:
            raise UsageError(
                'context is for libzmq, and transport="native" uses none: leave it out, or give '
                'transport="libzmq"'
            )

    def server(
        self, loop: Loop, host: ServerHost, bounds: ServerBounds, keys: ServerKeys | None
    ) -> ServerEnd:
        from .server import Listeners  # clients do not need it

        return Listeners(loop, host, bounds, keys)

    def client(
        self, loop: Loop, host: ClientHost, endpoint: str, keys: ClientKeys | None, message: int
    ) -> ClientEnd:
        from .client import Connector

        return Connector(loop, host, endpoint, message, keys)
