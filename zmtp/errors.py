"""What ends a connection."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class ZmtpError(Exception):
    """The peer does not speak ZMTP, or speaks it wrongly, or goes beyond a bound: the connection cannot go on. The text is one line.
    `before`: messages that were whole before that, and count."""

    before: Sequence[list[Any]] = ()


class Refused(ZmtpError):
    """The peer does not let this end in, and says why in `reason`."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"it refuses the connection: {reason}")
        self.reason = reason


class OtherMechanism(ZmtpError):
    """The peer has another security mechanism, `theirs`."""

    def __init__(self, theirs: str, ours: str) -> None:
        super().__init__(f"it speaks {theirs}, and here is {ours}")
        self.theirs = theirs
