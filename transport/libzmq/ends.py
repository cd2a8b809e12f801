"""The libzmq transport: makes the ends of servers and clients."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import zmq

from ...backends.base import Loop
from ...errors import UsageError
from ..base import ClientEnd, ClientHost, ServerBounds, ServerEnd, ServerHost, Transport
from .client import Dealer

if TYPE_CHECKING:
    from ...security.curve import ClientKeys, ServerKeys


class Libzmq(Transport):
    """Uses the given context, or one context per server and one for all clients of the process."""

    name = "libzmq"

    def __init__(self, context: Any = None) -> None:
        if context is not None and not isinstance(context, zmq.Context):
            raise UsageError(f"context must be a zmq.Context, not {context!r}")
        if context is not None and type(context) is not zmq.Context:
            context = zmq.Context.shadow(context)  # an asyncio context makes unsuitable sockets
        self._context = context

    def server(
        self, loop: Loop, host: ServerHost, bounds: ServerBounds, keys: ServerKeys | None
    ) -> ServerEnd:
        from .server import Router  # a client needs none of it

        return Router(loop, host, self._context, bounds, keys)

    def client(
        self, loop: Loop, host: ClientHost, endpoint: str, keys: ClientKeys | None, message: int
    ) -> ClientEnd:
        return Dealer(loop, host, endpoint, self._context, keys, message)
