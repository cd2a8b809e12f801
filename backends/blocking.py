"""Event loops for blocking clients, whose turns a signal handler may cut half-way.

A signal handler runs in the main thread, between any two steps of a turn, and may raise: a
KeyboardInterrupt, or the exception of a task's time limit. The state that a cut turn leaves is
unknown. So `whole` is False during a turn. If it stays False, the client gives up its connections,
and makes new ones when it is next used (decision 0024).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from contextvars import Context
from typing import Any, Protocol

from .base import Loop, T
from .gates import Gate

CUT = (
    "an exception (from a signal handler, or a stack overflow) interrupted this client while it "
    "handled its connections, so it has given them up; the next call connects anew"
)
ENTERED = (
    "a signal handler, a destructor or an interceptor called a client while the same thread was in "
    "a call of that client, which can only end after this one: do it after that call, or in "
    "another thread"
)


class CallerGate(Gate, Protocol):
    """A gate for one caller, a thread or a greenlet. A turn of the loop opens it."""

    @property
    def opened(self) -> bool:
        """Whether the gate is open; `wait` closes it again."""


class BlockingLoop(Loop):
    """A loop on which callers wait.

    Everything that changes the state of the loop, or of the core above it, is a `turn`.
    """

    def __init__(self) -> None:
        self.whole = True  # False during a turn, and after a turn that was cut
        self.cut: Callable[[], object] = lambda: None  # called after a turn that was cut

    @property
    def is_here(self) -> bool:
        """Whether the calling thread may use the loop."""
        return True

    @abstractmethod
    def gate(self) -> CallerGate:
        """A new gate for the caller."""

    @abstractmethod
    def wait(self, gate: Any) -> None:
        """Return when the gate, made by this loop, is open; leave it open."""

    @abstractmethod
    def spawn(self, work: Callable[[], object], context: Context) -> Callable[[], object] | None:
        """Run the work beside the caller, in the context.

        Returns the function that stops it, or None if it cannot be stopped.
        """

    def outside(self, function: Callable[..., T], *args: Any) -> T:
        """Call a user's function from within a turn; the function may take turns of its own."""
        try:
            self.whole = True
            return function(*args)
        finally:
            self.whole = False
