"""Which calls are sent again, and when: a number of attempts for each, after a pause where the way was at fault, and a budget for all.

The budget bounds calls that may run twice: those that are on their way again and have no answer yet. One that is answered gives its place
back, so that a healthy server soon gets all of them, and a server in trouble few. A call without a place waits for one while it has time.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Hashable, Iterator
from typing import Generic, Protocol, TypeVar

# Seconds before a call that failed on its way is sent again: up to the first, doubled with each failure, at most the last; by chance
# ("full jitter", Brooker, "Exponential Backoff And Jitter", AWS 2015), so that many clients do not come back together.
BACKOFF, BACKOFF_AT_MOST = 0.05, 1.0
# Calls that may be sent twice though they may have run: the first ones, those for each call made, and the most that are saved.
BUDGET, BUDGET_PER_CALL, BUDGET_AT_MOST = 10.0, 0.2, 100.0
# Seconds from one look at those that wait to the next: calls that were made meanwhile may have made room.
LOOK = 0.1


class Repeated(Hashable, Protocol):
    """A call that may be sent again. `attempts`: how often it is sent at most."""

    deadline: float | None

    @property
    def id(self) -> int: ...

    @property
    def ended(self) -> bool: ...

    @property
    def attempts(self) -> int: ...


C = TypeVar("C", bound=Repeated)


class Retries(Generic[C]):
    """`attempts` has the calls that were sent more than once and have not ended: whoever ends a call takes it out."""

    def __init__(self) -> None:
        self.attempts: dict[C, int] = {}
        self._delayed: list[tuple[float, int, C]] = []  # a heap, by time
        self._budget, self._counted = BUDGET, 0
        self._waiting: deque[C] = deque()  # for a place
        self._placed: set[C] = set()  # those that have one
        self._look_at = 0.0

    def allow(self, call: C) -> bool:
        """Count one more attempt, if the call has one left."""
        attempts = self.attempts.get(call, 1)
        if attempts >= call.attempts:
            return False
        self.attempts[call] = attempts + 1
        return True

    def spend(self, calls: int) -> bool:
        """Take one from the budget, which grows with the calls made since the start; False where it is used up."""
        saved = (calls - self._counted) * BUDGET_PER_CALL
        self._budget, self._counted = min(self._budget + saved, BUDGET_AT_MOST), calls
        if self._budget < 1.0:
            return False
        self._budget -= 1.0
        return True

    def place(self, call: C, calls: int) -> bool:
        """Take one from the budget for a call; it is given back when that is answered."""
        if not self.spend(calls):
            return False
        self._placed.add(call)
        return True

    def ended(self, call: C, *, answered: bool) -> None:
        """A call has ended that was sent more than once."""
        self.attempts.pop(call, None)
        if call in self._placed:
            self._placed.discard(call)
            if answered:
                self._budget = min(self._budget + 1.0, BUDGET_AT_MOST)

    def wait(self, call: C, now: float) -> bool:
        """Let the call wait for a place, if it has an attempt left."""
        if not self.allow(call):
            return False
        self._waiting.append(call)
        self._look_at = now + LOOK
        return True

    @property
    def waits(self) -> bool:
        """Whether a call waits for a place that there is."""
        return bool(self._waiting) and self._budget >= 1.0

    def delay(self, call: C, now: float) -> bool:
        """Put the call aside for a while, if it has the time and an attempt left."""
        longest = min(BACKOFF * 2 ** (self.attempts.get(call, 1) - 1), BACKOFF_AT_MOST)
        due = now + random.uniform(0.0, longest)  # noqa: S311 - no secret
        if (call.deadline is not None and due >= call.deadline) or not self.allow(call):
            return False
        heapq.heappush(self._delayed, (due, call.id, call))
        return True

    def due(self, now: float, calls: int) -> Iterator[C]:
        """The calls put aside whose time has come, and those that there is a place for, as far as they have not ended. `calls`: made since
        the start."""
        while self._delayed and self._delayed[0][0] <= now:
            call = heapq.heappop(self._delayed)[2]
            if not call.ended:
                yield call
        while self._waiting:
            if self._waiting[0].ended:
                self._waiting.popleft()
            elif self.place(self._waiting[0], calls):
                yield self._waiting.popleft()
            else:
                self._look_at = now + LOOK
                break

    def next(self) -> float | None:
        """When `due` will have something."""
        if not self._waiting:
            return self._delayed[0][0] if self._delayed else None
        return min(self._look_at, self._delayed[0][0]) if self._delayed else self._look_at
