"""The errors that end a ZMTP connection."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class ZmtpError(Exception):
    """The peer violates ZMTP or a limit, and the connection cannot go on. The text is one line.

    `before`: complete messages that arrived before the error, which are valid. `farewell`: bytes
    that tell the peer the reason.
    """

    before: Sequence[list[Any]] = ()
    farewell: bytes = b""


class Refused(ZmtpError):
    """The peer refuses this end, for that `reason`."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"it refuses the connection: {reason}")
        self.reason = reason


class NotAuthorized(ZmtpError):
    """The peer has proved its public `key`, which is not authorized."""

    def __init__(self, key: bytes, farewell: bytes) -> None:
        super().__init__("its key is not authorized")
        self.key = key
        self.farewell = farewell


class OtherMechanism(ZmtpError):
    """The peer has another security mechanism, `theirs`."""

    def __init__(self, theirs: str, ours: str) -> None:
        super().__init__(f"it uses {theirs}, this end uses {ours}")
        self.theirs = theirs
