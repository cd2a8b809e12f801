"""A fired call, which each style subclasses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..conversation.calls import OutgoingCall

Callback = Callable[[Any], object]
Errback = Callable[[BaseException], object]


class FiredCall(OutgoingCall):
    """A fired call: the client it was fired by, and the functions to call with its outcome."""

    __slots__ = ("callback", "client", "errback")
    client: Any  # a `Client`
    callback: Callback | None
    errback: Errback | None

    def observe(self) -> None:
        """Its caller will know of an error: it need not be logged."""
