"""Admission to a server with CURVE: checks clients' keys at first and as long as they stay.

libzmq asks for a key only at the handshake, and reports the end of a connection apart from its
messages. So this file compares the key of each batch with the key of the connection that it is
taken for, and cuts off connections whose key is no longer authorized.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any

import zmq

from ... import errors
from ...backends.base import Handle, Loop
from ...logs.bounded import Bounded
from ...security.curve import ServerKeys
from .. import reasons
from ..base import AcceptedConnection
from .curve import Guard, key_of, user_of

log = logging.getLogger("ringback.server")

# Seconds between two checks of the authorized keys.
RECHECK = 1.0

# Monitor events for `failed`.
FAILED = zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL

# Bytes of a routing id that libzmq has drawn; the first byte is 0.
_DRAWN = 5

_CODE = errors.Unauthenticated.code


class ZapAdmission:
    """The admission of one server. `cut(connection, why)` ends a connection."""

    def __init__(
        self,
        keys: ServerKeys,
        context: zmq.Context[Any],
        loop: Loop,
        cut: Callable[[AcceptedConnection, str], object],
    ) -> None:
        """Made before the server binds. Raises UsageError, as `Guard` does."""
        self._guard = Guard(keys, context, loop, self._refused)
        self._loop = loop
        self._cut = cut
        self._known = self._guard.authorized.names
        self._timer: Handle | None = None
        self._refusal = Bounded(log)
        self._incomplete = Bounded(log)
        self.protect = self._guard.protect

    def watch(self, connections: Callable[[], Iterable[AcceptedConnection]]) -> None:
        """Check periodically whether all connections may stay."""
        guard = self._guard
        guard.authorized.look()
        if self._known is not guard.authorized.names:
            self._known = guard.authorized.names
            for connection in list(connections()):
                self._check(connection)
        self._timer = self._loop.call_later(RECHECK, self.watch, connections)

    def identify(self, connection: AcceptedConnection, address: bytes, frame: zmq.Frame) -> None:
        """Identify a new connection by its first frame; cut it off if it is not admitted."""
        connection.user, connection.key = user_of(frame), key_of(frame)
        self._check(connection)
        if len(address) != _DRAWN or address[0]:
            # The next client with this id would get the last replies for this client.
            self._cut(connection, "it has chosen its routing id, which the protocol does not allow")

    def _check(self, connection: AcceptedConnection) -> None:
        if not self._guard.lets_in(connection.key):
            self._cut(connection, reasons.revoked(connection.user))

    # Logs of refused clients

    def _refused(self, peer: str, key: bytes) -> None:
        more = {"peer": peer, "code": _CODE}
        self._refusal(
            logging.WARNING, "refused %s: %s", peer, reasons.not_authorized(key), fields=more
        )

    def failed(self, event: int) -> None:
        """A handshake has failed; libzmq does not report whose."""
        # No warning for a peer that leaves by itself, such as a port probe.
        level = logging.WARNING if event == zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL else logging.INFO
        text = (
            "refused a client: its handshake failed; it does not use CURVE, or has another server "
            "key"
        )
        self._incomplete(level, text, fields={"code": _CODE})

    def close(self) -> None:
        """Close after the server's socket, and before the context is terminated."""
        if self._timer is not None:
            self._timer.cancel()
        self._guard.close()


def is_of(frame: zmq.Frame, connection: AcceptedConnection) -> bool:
    """Whether a frame with the connection's routing id really came over that connection."""
    return key_of(frame) == connection.key
