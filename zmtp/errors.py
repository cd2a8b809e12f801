"""What ends a connection."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class ZmtpError(Exception):
    """The peer does not speak ZMTP, or speaks it wrongly, or goes beyond a bound: the connection cannot go on. The text is one line.
    `before`: messages that were whole before that, and count. `farewell`: bytes that tell the peer why."""

    before: Sequence[list[Any]] = ()
    farewell: bytes = b""


class Refused(ZmtpError):
    """The peer does not let this end in, and says why in `reason`."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"it refuses the connection: {reason}")
        self.reason = reason


class NotAuthorized(ZmtpError):
    """The peer has proved that it has this public `key`, which is not authorized."""

    def __init__(self, key: bytes, farewell: bytes) -> None:
        super().__init__("its key is not authorized")
        self.key = key
        self.farewell = farewell


class OtherMechanism(ZmtpError):
    """The peer has another security mechanism, `theirs`."""

    def __init__(self, theirs: str, ours: str) -> None:
        super().__init__(f"it speaks {theirs}, and here is {ours}")
        self.theirs = theirs
