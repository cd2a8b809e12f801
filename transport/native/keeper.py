"""Keeps connections alive while their event loop is blocked.

A thread of its own sends PING in the loop's place, so that peers know that this process lives. A
stopped process, or one whose interpreter does not switch threads, sends nothing; its peers then
rightly give it up.
"""

from __future__ import annotations

import time
from typing import Protocol

from ...backends import native
from ...runtime import forks

# Seconds between two checks of all loops, seconds overdue after which a loop counts as blocked, and
# seconds between two PINGs.
LOOK, STILL, SPEAK = 1.0, 2.0, 2.0


class BeatingEnd(Protocol):
    """An end with connections. `due`: when its loop will set `due` again, if not blocked."""

    due: float

    def speak(self) -> object:
        """Send PING to all peers. Called in another thread."""


class Keeper:
    """The keeper of a process. Its thread runs while there is an end."""

    def __init__(self) -> None:
        self._lock = forks.freed(native.allocate_lock())
        self._spoken: dict[BeatingEnd, float] = {}  # time of the last PING, by end
        self._runs = False
        self._none = native.allocate_lock()  # free for a moment when the last end has gone
        self._none.acquire()
        forks.inherit(self)

    def keep(self, end: BeatingEnd) -> None:
        with self._lock:
            self._spoken[end] = 0.0
            if not self._runs:
                self._runs = True
                native.start_thread(self._run)

    def let_go(self, end: BeatingEnd) -> None:
        with self._lock:
            self._spoken.pop(end, None)
            if self._runs and not self._spoken and self._none.locked():
                self._none.release()

    def forked(self) -> None:
        """In a child: forget the ends; the child has neither their connections nor the thread."""
        self._spoken = {}
        self._runs = False
        self._none.acquire(blocking=False)

    def _run(self) -> None:
        while True:
            self._none.acquire(timeout=LOOK)
            now = time.monotonic()
            with self._lock:
                if not self._spoken:
                    self._runs = False
                    return
                silent = [
                    end
                    for end, spoken in self._spoken.items()
                    if now - end.due > STILL and now - spoken >= SPEAK
                ]
                self._spoken.update(dict.fromkeys(silent, now))
            for end in silent:
                end.speak()


keeper = Keeper()
