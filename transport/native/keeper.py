"""Keeps connections alive whose loop stands still: a thread of its own says PING in the loop's place, so that peers know that this process
lives. One that is stopped, or whose interpreter does not change threads, says nothing, and its peers are right to give it up.
"""

from __future__ import annotations

import time
from typing import Protocol

from ...backends import native
from ...runtime import forks

# Seconds from one look at all loops to the next; without a sign of life after which one stands still; and from one PING to the next.
LOOK, STILL, SPEAK = 1.0, 2.0, 2.0


class BeatingEnd(Protocol):
    """An end that has connections. Its loop sets `due`, again and again, to the time at which it will do so next."""

    due: float

    def speak(self) -> object:
        """Say PING to every peer. Called in another thread."""


class Keeper:
    """That of a process. Its thread is there while there is an end."""

    def __init__(self) -> None:
        self._lock = forks.freed(native.allocate_lock())
        self._spoken: dict[BeatingEnd, float] = {}  # when that was, by end
        self._runs = False
        self._none = native.allocate_lock()  # is free for a moment when the last has gone
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
        """In a child: neither the thread nor the connections are there."""
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
