"""Who is let in to a server with CURVE: each connection's key is known from its first message on, and looked at again as long as it lasts.

libzmq asks for a key at the handshake only, and tells a connection's end apart from what came over it. So here each batch is compared with
the key of the connection it is taken for, and whose key is no longer authorized is cut off.
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

# Seconds from one look at whose keys are authorized to the next.
RECHECK = 1.0

# Events of a monitor that are for `failed`.
FAILED = zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL

# The bytes of a routing id that libzmq has drawn, of which the first is 0.
_DRAWN = 5

_CODE = errors.Unauthenticated.code


class ZapAdmission:
    """Of one server. `cut(connection, why)` ends one."""

    def __init__(
        self,
        keys: ServerKeys,
        context: zmq.Context[Any],
        loop: Loop,
        cut: Callable[[AcceptedConnection, str], object],
    ) -> None:
        """To be made before the server binds. Raises UsageError where somebody else answers for the context."""
        self._guard = Guard(keys, context, loop, self._refused)
        self._loop = loop
        self._cut = cut
        self._known = self._guard.authorized.names
        self._timer: Handle | None = None
        self._refusal = Bounded(log)
        self._incomplete = Bounded(log)
        self.protect = self._guard.protect

    def watch(self, connections: Callable[[], Iterable[AcceptedConnection]]) -> None:
        """Look from time to time whether all of them may stay."""
        guard = self._guard
        guard.authorized.look()
        if self._known is not guard.authorized.names:
            self._known = guard.authorized.names
            for connection in list(connections()):
                self._check(connection)
        self._timer = self._loop.call_later(RECHECK, self.watch, connections)

    def identify(self, connection: AcceptedConnection, address: bytes, frame: zmq.Frame) -> None:
        """A new one with that routing id, by its first frame; it is cut off where it may not be here."""
        connection.user, connection.key = user_of(frame), key_of(frame)
        self._check(connection)
        if len(address) != _DRAWN or address[0]:
            # Who has it next would get the last answers that are meant for who has it now.
            self._cut(connection, "it has chosen its routing id, which the protocol does not allow")

    def _check(self, connection: AcceptedConnection) -> None:
        if not self._guard.lets_in(connection.key):
            self._cut(connection, reasons.revoked(connection.user))

    # What is said of who does not get in

    def _refused(self, peer: str, key: bytes) -> None:
        more = {"peer": peer, "code": _CODE}
        self._refusal(logging.WARNING, "refused %s: %s", peer, reasons.not_authorized(key), fields=more)

    def failed(self, event: int) -> None:
        """A handshake has; libzmq does not say whose."""
        # (who goes away by itself, such as a probe of the port, is no matter for a warning)
        level = logging.WARNING if event == zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL else logging.INFO
        text = "refused a client: its handshake failed; it does not use CURVE, or has another server key"
        self._incomplete(level, text, fields={"code": _CODE})

    def close(self) -> None:
        """After the server's socket, and before the context is terminated."""
        if self._timer is not None:
            self._timer.cancel()
        self._guard.close()


def is_of(frame: zmq.Frame, connection: AcceptedConnection) -> bool:
    """Whether what came belongs to the connection, whose routing id it has."""
    return key_of(frame) == connection.key
