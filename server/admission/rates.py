"""How many calls a second each client may make: token buckets. Now is an argument; who a client is, is the caller's to say."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from math import inf

from ...errors import UsageError


@dataclass(frozen=True, slots=True)
class Rate:
    """So many calls a second in the long run, and at most `burst` at once."""

    calls: float
    burst: float

    def __str__(self) -> str:
        return f"{self.calls:g} calls a second"


class Bucket:
    """What one client has left: in any span of t seconds it may make at most burst + calls * t calls."""

    __slots__ = ("_filled", "_left", "_rate")

    def __init__(self, rate: Rate, now: float) -> None:
        self._rate = rate
        self._left = rate.burst
        self._filled = now

    def take(self, now: float) -> bool:
        """Whether one call more may be made now; then it counts."""
        self._fill(now)
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True

    def full(self, now: float) -> bool:
        """Whether it is as if it were new."""
        self._fill(now)
        return self._left >= self._rate.burst

    def _fill(self, now: float) -> None:
        if now > self._filled:
            self._left = min(self._rate.burst, self._left + (now - self._filled) * self._rate.calls)
            self._filled = now


class Buckets:
    """One for each client that has called of late; those that are full again are forgotten, so that they do not pile up."""

    def __init__(self) -> None:
        self._buckets: dict[Hashable, Bucket] = {}

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, client: Hashable, rate: Rate, now: float) -> bool:
        """Whether that client may make one call more now."""
        bucket = self._buckets.get(client)
        if bucket is None:
            bucket = self._buckets[client] = Bucket(rate, now)
        return bucket.take(now)

    def look(self, now: float) -> None:
        """From time to time: forget who has not called for a while."""
        for client in [client for client, bucket in self._buckets.items() if bucket.full(now)]:
            del self._buckets[client]

    def clear(self) -> None:
        """Other rates hold from now on."""
        self._buckets.clear()


def checked_rate(calls: object, burst: object, owner: str) -> Rate | None:
    """What was asked for, None where nothing was; a burst that is not given is what comes in a second. Raises UsageError."""
    if calls is None:
        if burst is not None:
            raise UsageError(f"{owner}: burst needs a rate, in calls a second")
        return None
    if isinstance(calls, bool) or not isinstance(calls, (int, float)) or not 0 < calls < inf:
        raise UsageError(f"{owner}: rate must be a number of calls a second above 0, not {calls!r}")
    if burst is None:
        return Rate(float(calls), max(1.0, float(calls)))
    if isinstance(burst, bool) or not isinstance(burst, (int, float)) or not 1 <= burst < inf:
        raise UsageError(f"{owner}: burst must be a number of calls from 1 on, not {burst!r}")
    return Rate(float(calls), float(burst))
