"""Checks periodically whether worker threads make progress with the work that they run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from ....backends.base import Handle, Loop

# Seconds between two checks. Work that a thread runs during two of them takes long.
LOOK = 0.001


class Watched(Protocol):
    """Work for a thread. `begun` is set once a thread has taken it."""

    begun: bool

    def takes_long(self) -> None:
        """Called if the work takes long. It may have ended meanwhile."""


class WorkerWatch:
    """The watch over one server's workers. It rests while no thread runs watched work.

    `post` calls a function on the loop, in a turn that processes reports.
    """

    def __init__(self, loop: Loop, post: Callable[..., object]) -> None:
        self.resting = True
        self._loop = loop
        self._post = post
        self._seen: dict[Watched, bool] = {}  # whether it had begun at the last check
        self._timer: Handle | None = None

    def add(self, work: Watched) -> None:
        self._seen[work] = False
        self.wake()

    def began(self, work: Watched) -> None:
        """Called in the thread that has taken the work."""
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
        self.resting = True  # before the next check, so that work begun after it wakes this
        if any(work.begun for work in self._seen):
            self.wake()
        for work in long:
            self._post(work.takes_long)
