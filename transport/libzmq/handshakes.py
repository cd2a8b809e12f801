"""Why handshakes fail, inferred from libzmq's events. It knows no sockets.

libzmq 4.3.5 reports a key that the server does not admit, and a mismatch of mechanisms; after both
it does not try again. It does not report a wrong server key: the server closes the connection, and
libzmq tries again for ever. A proxy whose server is away looks the same. After a while, libzmq
gives up a connection with a server that hangs.
"""

from __future__ import annotations

import zmq

from ...endpoints import host_of, is_name
from .. import reasons
from ..broken import IN_A_ROW, Broken

HANDSHAKE_FAILED = (
    zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
)

# Seconds within which a server rejects a handshake; a server that takes longer hangs.
AT_ONCE = 2.0

# libzmq's ZMQ_PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH.
_OTHER_MECHANISM = 0x11000002


class Handshakes:
    """The handshakes of one socket with one endpoint."""

    def __init__(self, endpoint: str, *, with_keys: bool) -> None:
        self._endpoint = endpoint
        self._with_keys = with_keys
        self._began = 0.0
        self._broken = Broken()
        self._reason = ""  # why the last handshake failed, if it did
        self._attempted = False  # whether libzmq had an address to connect to, since the last retry
        self.unresolved = False  # whether libzmq had no address at the last retry

    def began(self, now: float) -> None:
        self._began = now

    @property
    def unclear(self) -> bool:
        """Whether to ask the server for its mechanism.

        True after each IN_A_ROW handshakes that were broken off in a row without an error.
        """
        return (
            not self._with_keys and bool(self._broken.count) and self._broken.count % IN_A_ROW == 0
        )

    def succeeded(self) -> None:
        self._broken.reset()
        self._reason = ""

    def closed(self) -> None:
        """A connection attempt failed. Without an attempt, libzmq could not resolve the host."""
        self._attempted = True

    def lost(self) -> str:
        """The connection is lost. Returns the reason."""
        self._attempted = True
        return self._reason or reasons.lost(self._endpoint)

    def retried(self) -> str:
        """Another attempt follows. Returns why the last one failed."""
        attempted, self._attempted = self._attempted, False
        self.unresolved = False
        if self._reason:
            reason, self._reason = self._reason, ""
            return reason
        self._broken.reset()
        host = host_of(self._endpoint)
        if not attempted and host is not None and is_name(host):
            self.unresolved = True
            return reasons.unresolved(host, self._endpoint)
        return f"no server at {self._endpoint}"

    def failed(self, event: int, value: int, now: float, *, known: bool = False) -> str | None:
        """A handshake failed. Returns why it is hopeless, or None if another attempt may succeed.

        `known`: the server has admitted this client before.
        """
        at = self._endpoint
        self._reason = (
            f"the peer at {at} is not a ringback "
            f"server{'' if self._with_keys else ', or it uses CURVE'}"
        )
        if event == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
            return reasons.unknown_key(at)
        if event == zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL and value == _OTHER_MECHANISM:
            if self._with_keys:
                return reasons.has_no_keys(at)
            return reasons.wants_keys(at)
        if not self._with_keys:
            self._broken.add(now)
            return None
        if event == zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL:
            return self._reason  # libzmq does not try again
        if now - self._began > AT_ONCE:
            self._broken.reset()
            self._reason = reasons.mute(at)
            return None
        self._broken.add(now)
        self._reason = reasons.broken_off(at)
        if not self._broken.is_hopeless(now, known=known):
            return None
        return reasons.broken_off_again(at, self._broken.count)
