"""A fired call, which each style subclasses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ... import errors
from ..conversation.calls import ENDED, OutgoingCall

Callback = Callable[[Any], object]
Errback = Callable[[BaseException], object]

# What `fire` takes besides the arguments of a method, of which none has such a name.
CALLBACKS = frozenset(["callback", "errback"])


class FiredCall(OutgoingCall):
    """A fired call: the client it was fired by, and the functions to call with its outcome."""

    __slots__ = ("callback", "client", "errback")
    client: Any  # a `Client`
    callback: Callback | None
    errback: Errback | None

    @property
    def failure(self) -> errors.CallError | None:
        """With which it ends, and is not sent."""
        return None if self.extras is None else self.extras.failure

    def fail(self, error: errors.CallError) -> None:
        """End it with that error. `finish` is still to be called."""
        self.state = ENDED
        self.extended().failure = error

    def observe(self) -> None:
        """Its caller will know of an error: it need not be logged."""
