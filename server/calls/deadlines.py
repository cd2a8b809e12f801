"""Deadlines of calls, in a heap. It reads no clock: `now` is an argument."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Generic, TypeVar

from ..declare.service import Method

T = TypeVar("T")


def deadline_of(method: Method, timeout: int | None, now: float) -> float | None:
    """The deadline of a call that arrived at `now`; `timeout` is the client's, in milliseconds.

    The method's own timeout applies if it is shorter. None if neither sets one.
    """
    deadline = None if timeout is None else now + timeout / 1000
    if method.timeout is None:
        return deadline
    return now + method.timeout if deadline is None else min(deadline, now + method.timeout)


class Deadlines(Generic[T]):
    """A heap of deadlines that removes entries lazily, once they are no longer `alive`.

    Most calls end long before their deadline. Searching the heap for each of them would cost more
    than the call.
    """

    def __init__(self, alive: Callable[[T], bool]) -> None:
        self._alive = alive
        self._heap: list[tuple[float, int, T]] = []
        self._count = 0
        self._sweep_at = 1024

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, deadline: float, thing: T) -> None:
        self._count += 1
        heapq.heappush(self._heap, (deadline, self._count, thing))
        if len(self._heap) > self._sweep_at:
            self._sweep()

    def next(self) -> float | None:
        """The earliest deadline of an entry that is alive."""
        heap = self._heap
        while heap and not self._alive(heap[0][2]):
            heapq.heappop(heap)
        return heap[0][0] if heap else None

    def expired(self, now: float) -> list[T]:
        """Remove and return the entries that are due at `now` and alive, earliest first."""
        due: list[T] = []
        heap = self._heap
        while heap and heap[0][0] <= now:
            thing = heapq.heappop(heap)[2]
            if self._alive(thing):
                due.append(thing)
        return due

    def _sweep(self) -> None:
        alive = self._alive
        self._heap = [entry for entry in self._heap if alive(entry[2])]
        heapq.heapify(self._heap)
        self._sweep_at = max(1024, 3 * len(self._heap))
