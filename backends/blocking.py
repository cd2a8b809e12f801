"""Loops for blocking clients, whose turns the handler of a signal may cut half-way.

A handler runs in the main thread, between any two steps of what is done there, and may raise: KeyboardInterrupt, or what limits a
task's time. What a cut turn has left, nobody can know. So the loop is not `whole` while a turn is taken; where it stays so, all that
it is for is given up, and made anew when it is next used (decision 0024).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from contextvars import Context
from typing import Any, Protocol

from .base import Loop, T
from .gates import Gate

CUT = (
    "something raised while this client dealt with its connections (the handler of a signal, or the end of the stack), so they were "
    "given up"
)
ENTERED = (
    "a client was called by a signal's handler, a destructor or an interceptor while the same thread was in a call of it, which "
    "can only end after this one: do it after that call, or in another thread"
)


class CallerGate(Gate, Protocol):
    """For one caller, a thread or a greenlet. Opened in a turn of the loop."""

    @property
    def opened(self) -> bool:
        """Whether it is open; `wait` closes it again."""


class BlockingLoop(Loop):
    """A loop on which callers wait. All that touches its state, or that of the core above it, is a `turn`."""

    def __init__(self) -> None:
        self.whole = True  # False while a turn is taken, and after one that was cut
        self.cut: Callable[[], object] = lambda: None  # called where one was

    @property
    def is_here(self) -> bool:
        """Whether the calling thread may use it."""
        return True

    @abstractmethod
    def gate(self) -> CallerGate:
        """Where the caller can wait."""

    @abstractmethod
    def wait(self, gate: Any) -> None:
        """Return when the gate, one of this loop's, is open, and leave it so."""

    @abstractmethod
    def spawn(self, work: Callable[[], object], context: Context) -> Callable[[], object] | None:
        """Run the work beside the caller, in that context. Returns the function that stops it, where it can be stopped."""

    def outside(self, function: Callable[..., T], *args: Any) -> T:
        """Call a function of the user's from within a turn: it may take turns of its own."""
        try:
            self.whole = True
            return function(*args)
        finally:
            self.whole = False
