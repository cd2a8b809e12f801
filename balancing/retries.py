"""Retries: the attempts of each call, the backoff after a lost connection, and a budget for all.

The budget bounds the calls that may run twice: those sent again that have no reply yet. A reply
returns the call's place, so a healthy server soon gets all of them, and a failing one only a few. A
call without a place waits for one until its deadline.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Hashable, Iterator
from typing import Generic, Protocol, TypeVar

# Seconds of backoff before a call that failed on its way is sent again: up to BACKOFF, doubled with
# each failure, at most BACKOFF_AT_MOST. They are random ("full jitter", Brooker, "Exponential
# Backoff And Jitter", AWS 2015), so that many clients do not return together.
BACKOFF, BACKOFF_AT_MOST = 0.05, 1.0
# Budget of calls sent again that may have run: at first, added for each call made, and the most
# that is saved.
BUDGET, BUDGET_PER_CALL, BUDGET_AT_MOST = 10.0, 0.2, 100.0
# Seconds between two checks of the waiting calls: new calls may have added to the budget.
LOOK = 0.1


class Repeated(Hashable, Protocol):
    """A call that may be sent again. `attempts`: maximum times that it is sent."""

    deadline: float | None

    @property
    def id(self) -> int: ...

    @property
    def ended(self) -> bool: ...

    @property
    def attempts(self) -> int: ...


C = TypeVar("C", bound=Repeated)


class Retries(Generic[C]):
    """The retries of one client.
    `attempts` holds the calls that were sent more than once and have not ended; the code that ends
    a call removes it."""

    def __init__(self) -> None:
        self.attempts: dict[C, int] = {}
        self._delayed: list[tuple[float, int, C]] = []  # a heap, by time
        self._budget, self._counted = BUDGET, 0
        self._waiting: deque[C] = deque()  # calls that wait for a place
        self._placed: set[C] = set()  # calls that have one
        self._look_at = 0.0

    def allow(self, call: C) -> bool:
        """Count one more attempt; False if the call has none left."""
        attempts = self.attempts.get(call, 1)
        if attempts >= call.attempts:
            return False
        self.attempts[call] = attempts + 1
        return True

    def spend(self, calls: int) -> bool:
        """Take one from the budget, which grows with the calls made since the start.
        False if used up."""
        saved = (calls - self._counted) * BUDGET_PER_CALL
        self._budget, self._counted = min(self._budget + saved, BUDGET_AT_MOST), calls
        if self._budget < 1.0:
            return False
        self._budget -= 1.0
        return True

    def place(self, call: C, calls: int) -> bool:
        """Take a place from the budget for a call; a reply returns it."""
        if not self.spend(calls):
            return False
        self._placed.add(call)
        return True

    def ended(self, call: C, *, answered: bool) -> None:
        """A call that was sent more than once has ended."""
        self.attempts.pop(call, None)
        if call in self._placed:
            self._placed.discard(call)
            if answered:
                self._budget = min(self._budget + 1.0, BUDGET_AT_MOST)

    def wait(self, call: C, now: float) -> bool:
        """Let the call wait for a place; False if it has no attempt left."""
        if not self.allow(call):
            return False
        self._waiting.append(call)
        self._look_at = now + LOOK
        return True

    @property
    def waits(self) -> bool:
        """Whether a call waits and a place is free."""
        return bool(self._waiting) and self._budget >= 1.0

    def delay(self, call: C, now: float) -> bool:
        """Put the call aside for its backoff; False if it has no time or attempt left."""
        longest = min(BACKOFF * 2 ** (self.attempts.get(call, 1) - 1), BACKOFF_AT_MOST)
        due = now + random.uniform(0.0, longest)  # noqa: S311 - no secret
        if (call.deadline is not None and due >= call.deadline) or not self.allow(call):
            return False
        heapq.heappush(self._delayed, (due, call.id, call))
        return True

    def due(self, now: float, calls: int) -> Iterator[C]:
        """The calls to send again now: their backoff is over, or they have a place.
        `calls`: made since the start."""
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
        """The time at which `due` will return a call, or None."""
        if not self._waiting:
            return self._delayed[0][0] if self._delayed else None
        return min(self._look_at, self._delayed[0][0]) if self._delayed else self._look_at
