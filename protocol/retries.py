"""Which calls are sent again, and when: so many attempts for each, after a pause where the way was at fault, and of all calls only
so many twice."""

from __future__ import annotations

import heapq
import random
from collections.abc import Iterator

from .calls import OutgoingCall

# Seconds before a call that failed on its way is sent again: up to the first, doubled with each failure, at most the last; by chance
# ("full jitter", Brooker, "Exponential Backoff And Jitter", AWS 2015), so that many clients do not come back together.
BACKOFF, BACKOFF_AT_MOST = 0.05, 1.0
# What may be sent twice though it may have run: so many calls, and of all calls this part, saved up to so many.
BUDGET, BUDGET_PER_CALL, BUDGET_AT_MOST = 10.0, 0.2, 100.0


class Retries:
    """`attempts` has the calls that were sent more than once and have not ended: whoever ends a call takes it out."""

    def __init__(self) -> None:
        self.attempts: dict[OutgoingCall, int] = {}
        self._delayed: list[tuple[float, int, OutgoingCall]] = []  # a heap, by time
        self._budget, self._counted = BUDGET, 0

    def allow(self, call: OutgoingCall) -> bool:
        """Count one more attempt, if the call has one left."""
        attempts = self.attempts.get(call, 1)
        if attempts >= call.settings.attempts:
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

    def delay(self, call: OutgoingCall, now: float) -> bool:
        """Put the call aside for a while, if it has the time and an attempt left."""
        longest = min(BACKOFF * 2 ** (self.attempts.get(call, 1) - 1), BACKOFF_AT_MOST)
        due = now + random.uniform(0.0, longest)  # noqa: S311 - no secret
        if (call.deadline is not None and due >= call.deadline) or not self.allow(call):
            return False
        heapq.heappush(self._delayed, (due, call.id, call))
        return True

    def due(self, now: float) -> Iterator[OutgoingCall]:
        """The calls put aside whose time has come, as far as they have not ended."""
        while self._delayed and self._delayed[0][0] <= now:
            call = heapq.heappop(self._delayed)[2]
            if not call.ended:
                yield call

    def next(self) -> float | None:
        """When `due` will have something."""
        return self._delayed[0][0] if self._delayed else None
