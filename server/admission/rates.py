"""Rate limits per client, by token buckets. The time and the client's identity are arguments."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from math import inf

from ...errors import UsageError


@dataclass(frozen=True, slots=True)
class Rate:
    """`calls` per second in the long run, and at most `burst` calls at once."""

    calls: float
    burst: float

    def __str__(self) -> str:
        return f"{self.calls:g} calls a second"


class Bucket:
    """One client's tokens: in any t seconds it may make at most burst + calls * t calls."""

    __slots__ = ("_filled", "_left", "_rate")

    def __init__(self, rate: Rate, now: float) -> None:
        self._rate = rate
        self._left = rate.burst
        self._filled = now

    def take(self, now: float) -> bool:
        """Take a token. Returns whether there was one, so that the call may go on."""
        self._fill(now)
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True

    def full(self, now: float) -> bool:
        """Whether the bucket is full, as a new one is."""
        self._fill(now)
        return self._left >= self._rate.burst

    def _fill(self, now: float) -> None:
        if now > self._filled:
            self._left = min(self._rate.burst, self._left + (now - self._filled) * self._rate.calls)
            self._filled = now


class Buckets:
    """A bucket for each client that has called recently; full ones are dropped to save memory."""

    def __init__(self) -> None:
        self._buckets: dict[Hashable, Bucket] = {}

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, client: Hashable, rate: Rate, now: float) -> bool:
        """Take a token of that client. Returns whether there was one."""
        bucket = self._buckets.get(client)
        if bucket is None:
            bucket = self._buckets[client] = Bucket(rate, now)
        return bucket.take(now)

    def look(self, now: float) -> None:
        """Periodic check: drop the buckets of clients that have not called for a while."""
        for client in [client for client, bucket in self._buckets.items() if bucket.full(now)]:
            del self._buckets[client]

    def clear(self) -> None:
        """Drop all buckets, as the rates have changed."""
        self._buckets.clear()


def checked_rate(calls: object, burst: object, owner: str) -> Rate | None:
    """The rate, or None without one. Default of `burst`: one second's calls. Raises UsageError."""
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
