"""A fired call, which each style subclasses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ... import errors
from ..conversation.calls import ENDED, OutgoingCall

Callback = Callable[[Any], object]
Errback = Callable[[BaseException], object]

# Keyword arguments of `fire` itself; no method has parameters with these names.
CALLBACKS = frozenset(["callback", "errback"])


class FiredCall(OutgoingCall):
    """A fired call, with its client and its callbacks."""

    __slots__ = ("callback", "client", "errback")
    client: Any  # a `Client`
    callback: Callback | None
    errback: Errback | None

    @property
    def failure(self) -> errors.CallError | None:
        """The error that the call ended with instead of being sent, or None."""
        return None if self.extras is None else self.extras.failure

    def fail(self, error: errors.CallError) -> None:
        """End the call with that error. The caller must still call `finish`."""
        self.state = ENDED
        self.extended().failure = error

    def observe(self) -> None:
        """Note that the caller will see an error, so that it is not logged."""
