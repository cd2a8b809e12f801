"""Turns of a client's loop that the handler of a signal may cut half-way.

A handler runs in the main thread, between any two steps of what is done there, and may raise: KeyboardInterrupt, or what limits a
task's time. What a cut turn has left, nobody can know. So the loop is not `whole` while a turn is taken; where it stays so, all that
it is for is given up, and made anew when it is next used (decision 0024).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .base import Loop, T

CUT = (
    "something raised while this client dealt with its connections (the handler of a signal, or the end of the stack), so they were "
    "given up"
)
ENTERED = (
    "a client was called by a signal's handler, a destructor or an interceptor while the same thread was in a call of it, which "
    "can only end after this one: do it after that call, or in another thread"
)


class TurningLoop(Loop):
    """One whose turns may be cut."""

    def __init__(self) -> None:
        self.whole = True  # False while a turn is taken, and after one that was cut
        self.cut: Callable[[], object] = lambda: None  # called where one was

    def outside(self, function: Callable[..., T], *args: Any) -> T:
        """Call a function of the user's from within a turn: it may take turns of its own."""
        try:
            self.whole = True
            return function(*args)
        finally:
            self.whole = False
