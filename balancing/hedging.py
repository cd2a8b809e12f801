"""Hedging: sends a slow call to a second server as well.

It does so after the time in which 95 of 100 such calls get their reply, for at most one call in
twenty (Dean and Barroso, "The Tail at Scale", 2013).
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterator
from math import ceil
from typing import Generic, Protocol, TypeVar

# The 95th percentile covers the LAST calls of a method. It is computed after ENOUGH calls, and
# again after every ANEW more.
LAST, ENOUGH, ANEW = 256, 20, 16
PERCENTILE = 0.95
# Budget of second calls: added for each call that may have one, and the most that is saved.
PART, SAVED = 0.05, 10.0


class Hedged(Protocol):
    """A call that may go to a second server. `link`: the link to its server, if it is at one."""

    deadline: float | None

    @property
    def id(self) -> int: ...

    @property
    def method(self) -> str: ...

    @property
    def ended(self) -> bool: ...

    @property
    def link(self) -> object | None: ...


C = TypeVar("C", bound=Hedged)


class Hedging(Generic[C]):
    """The hedging of one client: response times by method, the calls that may be sent again, the
    budget."""

    def __init__(self) -> None:
        self._methods: dict[str, _Times] = {}
        self._saved = 1.0
        self._due: list[tuple[float, int, C]] = []  # a heap, by time

    def sent(self, call: C, now: float) -> None:
        """A call that may have a duplicate is sent for the first time."""
        after = self.after(call.method)
        if after is not None and (call.deadline is None or now + after < call.deadline):
            heapq.heappush(self._due, (now + after, call.id, call))

    def after(self, method: str) -> float | None:
        """Seconds after which a call sent now may be sent again; None if too little is known.
        Adds to the budget."""
        self._saved = min(self._saved + PART, SAVED)
        times = self._methods.get(method)
        return None if times is None else times.percentile

    def answered(self, method: str, seconds: float) -> None:
        """Record the response time of a call of that method."""
        times = self._methods.get(method)
        if times is None:
            times = self._methods[method] = _Times()
        times.add(seconds)

    def due(self, now: float) -> Iterator[C]:
        """The calls to send to a second server now: without a reply yet, and within the budget."""
        while self._due and self._due[0][0] <= now:
            call = heapq.heappop(self._due)[2]
            if not call.ended and call.link is not None and self.spend():
                yield call

    def spend(self) -> bool:
        """Take one second call from the budget; False if it is used up."""
        if self._saved < 1.0:
            return False
        self._saved -= 1.0
        return True

    def next(self) -> float | None:
        """The time at which `due` will return a call, or None. Skips calls that have ended."""
        while self._due and self._due[0][2].ended:
            heapq.heappop(self._due)
        return self._due[0][0] if self._due else None


class _Times:
    __slots__ = ("_left", "_times", "percentile")

    def __init__(self) -> None:
        self._times: deque[float] = deque(maxlen=LAST)
        self._left = ENOUGH
        self.percentile: float | None = None

    def add(self, seconds: float) -> None:
        self._times.append(seconds)
        self._left -= 1
        if not self._left:
            self._left = ANEW
            ordered = sorted(self._times)
            self.percentile = ordered[ceil(len(ordered) * PERCENTILE) - 1]
