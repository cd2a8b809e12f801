"""When each of many things is due, told by nobody's clock but the `now` that is passed in."""

from __future__ import annotations

import heapq
from typing import Generic, Protocol, TypeVar


class Due(Protocol):
    """`deadline` may be moved later at no cost; an `ended` thing is forgotten in passing."""

    deadline: float | None
    ended: bool


D = TypeVar("D", bound=Due)


class Deadlines(Generic[D]):
    """A heap from which ended things are removed lazily: most calls end long before their deadline, and looking for each would
    cost more than the call."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, D]] = []
        self._count = 0
        self._sweep_at = 1024

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, deadline: float, thing: D) -> None:
        self._count += 1
        heapq.heappush(self._heap, (deadline, self._count, thing))
        if len(self._heap) > self._sweep_at:
            self._sweep()

    def next(self) -> float | None:
        """When to look again: the earliest deadline, or earlier."""
        heap = self._heap
        while heap and heap[0][2].ended:
            heapq.heappop(heap)
        return heap[0][0] if heap else None

    def expired(self, now: float) -> list[D]:
        """Take out what is due at `now` and has not ended, earliest first."""
        due: list[D] = []
        heap = self._heap
        while heap and heap[0][0] <= now:
            thing = heapq.heappop(heap)[2]
            if thing.ended or thing.deadline is None:
                continue
            if thing.deadline > now:
                self.add(thing.deadline, thing)
            else:
                due.append(thing)
        return due

    def _sweep(self) -> None:
        self._heap = [entry for entry in self._heap if not entry[2].ended]
        heapq.heapify(self._heap)
        self._sweep_at = max(1024, 2 * len(self._heap))
