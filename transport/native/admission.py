"""Admission to a server with CURVE: checks clients' keys at first and as long as they stay."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Protocol, TypeVar

from ...errors import Unauthenticated
from ...logs.bounded import Bounded
from ...security import z85
from ...zmtp.errors import NotAuthorized, ZmtpError
from ...zmtp.mechanisms import Mechanism
from .. import reasons

if TYPE_CHECKING:
    from ...security.curve import ServerKeys

log = logging.getLogger("ringback.server")


class Admitted(Protocol):
    """A connection: its client's key and the name of that key, once known, and its address."""

    user: str
    key: str
    peer: str


A = TypeVar("A", bound=Admitted)


class CurveAdmission:
    """The admission of one server with CURVE."""

    def __init__(self, keys: ServerKeys) -> None:
        self._pair = keys.pair.raw
        self._authorized = keys.authorized
        self._known = keys.authorized.names
        # Two limits, so that a flood of one kind of log does not hide the other.
        self._refusal, self._failure = Bounded(log), Bounded(log)

    def mechanism(self, peer: Admitted) -> Mechanism:
        """The server's end of a handshake. It sets the peer's `user` and `key`."""
        from ...zmtp.curve import CurveServer  # few servers need it

        return CurveServer(*self._pair, partial(self._admits, peer))

    def _admits(self, peer: Admitted, key: bytes) -> bool:
        text = z85.encode(key)
        user = self._authorized.name_of(text)
        if user is None:
            return False
        peer.user, peer.key = user, text.decode()
        return True

    def refused(self, peer: Admitted, error: ZmtpError) -> None:
        """Log why a handshake failed."""
        if isinstance(error, NotAuthorized):
            complaint, why = self._refusal, reasons.not_authorized(z85.encode(error.key))
        else:
            complaint, why = self._failure, f"its handshake failed: {error}"
        more = {"peer": peer.peer, "code": Unauthenticated.code}
        complaint(
            logging.WARNING, "refused %s: %s", peer.peer or "a local client", why, fields=more
        )

    def revoked(self, peers: Iterable[A]) -> list[A]:
        """The peers whose keys are no longer authorized; none if no key has changed since."""
        authorized = self._authorized
        authorized.look()
        if authorized.every or authorized.names is self._known:
            return []
        self._known = names = authorized.names
        return [peer for peer in peers if peer.key and peer.key.encode() not in names]
