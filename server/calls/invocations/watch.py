"""Looks whether worker threads get on, from time to time while they run what is watched."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from ....backends.base import Handle, Loop

# Seconds between two looks. What a thread is at in two of them takes long.
LOOK = 0.001


class Watched(Protocol):
    """Work for a thread. `begun`: that has taken it."""

    begun: bool

    def takes_long(self) -> None:
        """It may have ended meanwhile."""


class WorkerWatch:
    """Of one server. It rests as long as no thread has begun what is watched. `post` calls a function on the loop, in a turn of reports."""

    def __init__(self, loop: Loop, post: Callable[..., object]) -> None:
        self.resting = True
        self._loop = loop
        self._post = post
        self._seen: dict[Watched, bool] = {}  # whether it had begun at the last look
        self._timer: Handle | None = None

    def add(self, work: Watched) -> None:
        self._seen[work] = False
        self.wake()

    def began(self, work: Watched) -> None:
        """In the thread that has taken it."""
        work.begun = True
        if self.resting:
            self._post(self.wake)

    def discard(self, work: Watched) -> None:
        self._seen.pop(work, None)

    def wake(self) -> None:
        if self._timer is None and self._seen:
            self.resting = False
            self._timer = self._loop.call_later(LOOK, self._look)

    def close(self) -> None:
        self._seen.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        long = [work for work, seen in self._seen.items() if seen]
        self._seen = {work: work.begun for work, seen in self._seen.items() if not seen}
        self.resting = True  # before the next question: who begins after that sees it
        if any(work.begun for work in self._seen):
            self.wake()
        for work in long:
            self._post(work.takes_long)
