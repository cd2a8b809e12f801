"""Learns a concurrency limit from running times. No loop, no clock; randomness is an argument.

If calls take R seconds and would take R0 without load, then only L * R0 / R of the L running calls
are being served; the others wait inside (Little 1961). That number is enough, plus a few calls to
learn from. This is the gradient of Netflix's concurrency-limits (GradientLimit, 2018). R0 is
measured again from time to time with almost no other call, as in Envoy's adaptive concurrency
filter: under a steady overload it would creep up.
"""

from __future__ import annotations

import random
from math import sqrt
from typing import TypeVar

from .resources import Resource

K = TypeVar("K")

# The initial limit, and its bounds.
FIRST, LEAST, MOST = 10, 1, 10_000

# Calls that run at once during a measurement of R0, and its maximum duration in seconds.
_QUIET = 2
_QUIET_SECONDS = 2.0

# Seconds until the next measurement of R0, give or take a tenth; at least _RARELY times the
# duration of the last one.
_AGAIN = 10.0
_RARELY = 50.0

# A mean is known after _CALLS calls if its standard error is below the share _ERROR of it, and
# after _MANY calls in any case. R0 stays in use for long and needs _QUIET_CALLS: a few calls may
# include no long one. A method with fewer than _FEW calls keeps its old R0.
_CALLS, _ERROR, _MANY = 10, 0.15, 200
_QUIET_CALLS = 50
_FEW = 5

# Seconds after which a measurement is abandoned: longer calls would keep all others from beginning.
_PATIENCE = 5.0

# Calls may take this multiple of R0 before the limiter counts it as overload.
_TOLERANCE = 1.5

# Step of a new limit from the old one to the estimate, and the share of the old limit that must be
# in use before it may grow.
_STEP = 0.5
_FULL = 0.9

# Share of a call's spare time (until its deadline, without its run) that it may spend waiting:
# estimates err, and a call that begins too late is wasted work.
_HOPE = 0.5

# The weight of the newest running time in the mean.
_NEWEST = 0.05


class LimiterSample:
    """A sample of running times, in seconds."""

    __slots__ = ("many", "squares", "total")

    def __init__(self) -> None:
        self.many = 0
        self.total = 0.0
        self.squares = 0.0

    def add(self, seconds: float) -> None:
        self.many += 1
        self.total += seconds
        self.squares += seconds * seconds

    @property
    def mean(self) -> float:
        return self.total / self.many

    def known(self, least: int) -> bool:
        """Whether the mean is statistically reliable."""
        if self.many < least:
            return False
        mean = self.mean
        variance = max(0.0, self.squares / self.many - mean * mean)
        return self.many >= _MANY or variance <= self.many * (_ERROR * mean) ** 2


class Limiter:
    """Learns the total of its `resource`, of which every running call takes one unit.

    Several methods may share it: running times count as multiples of their method's R0.
    """

    def __init__(self, name: str, chance: random.Random) -> None:
        self.resource = Resource(name, FIRST)
        self._chance = chance
        self._limit = float(FIRST)
        self._seconds = 0.0
        self._waiting: dict[int, int] = {}  # waiting calls, by priority
        self._clients: dict[object, int] = {}  # waiting calls, by client
        self._base: dict[str, float] = {}  # R0, by method
        self._loaded = LimiterSample()
        # The measurement of R0: its start, the start of its quiet part, and the samples by method.
        self._asked: float | None = None
        self._quiet: float | None = None
        self._measured: dict[str, LimiterSample] = {}
        self._next = 0.0

    @property
    def limit(self) -> int:
        """Maximum calls that run at once, except during a measurement of R0."""
        return int(self._limit)

    def waits(self, client: object, priority: int, by: int = 1) -> None:
        """Count `by` more waiting calls of that client and priority."""
        _count(self._waiting, priority, by)
        _count(self._clients, client, by)

    def too_late(self, client: object, priority: int, left: float) -> bool:
        """Whether a new call would probably wait too long.

        `left`: seconds until its deadline, without its running time.
        """
        before = sum(many for other, many in self._waiting.items() if other >= priority)
        # Clients take turns, so each has at most as many calls before this one as its own client
        # has.
        before = min(before, (self._clients.get(client, 0) + 1) * len(self._clients))
        return before * self._seconds / self._limit > _HOPE * left

    def look(self, now: float) -> None:
        """Periodic check: abandon a measurement that long calls keep from ending."""
        if self._asked is not None and now - self._asked > _PATIENCE:
            self._end(now)

    def finished(self, method: str, began: float, now: float) -> None:
        """Record an ended call. Its unit of the resource is already free."""
        took = now - began
        self._seconds += (took - self._seconds) * (_NEWEST if self._seconds else 1.0)
        if self._asked is not None:
            self._compare(method, began, now)
        elif now >= self._next:
            self._asked, self._quiet, self._measured = now, None, {}
            self.resource.total = min(self.resource.total, _QUIET)
        elif method in self._base:
            self._learn(took / self._base[method] if self._base[method] else 1.0)

    def _learn(self, times: float) -> None:
        """Record a running time, as a multiple of R0."""
        loaded = self._loaded
        loaded.add(times)
        if loaded.many < self._limit / 2 or not loaded.known(_CALLS):
            return
        found = self._limit * min(1.0, _TOLERANCE / loaded.mean) + sqrt(self._limit)
        # If too few calls filled the limit, their good times say nothing about a higher one.
        if found < self._limit or self.resource.taken + 1 >= _FULL * self.resource.total:
            self._limit = min(
                float(MOST), max(float(LEAST), self._limit + _STEP * (found - self._limit))
            )
            self.resource.total = int(self._limit)
        self._loaded = LimiterSample()

    def _compare(self, method: str, began: float, now: float) -> None:
        """Record a call during a measurement of R0; only calls begun in its quiet part count."""
        assert self._asked is not None
        if self._quiet is None:
            if self.resource.taken < _QUIET:
                self._quiet = now
            return
        if began >= self._quiet:
            self._measured.setdefault(method, LimiterSample()).add(now - began)
        over = now - self._quiet >= _QUIET_SECONDS
        if over or any(sample.known(_QUIET_CALLS) for sample in self._measured.values()):
            # A method with too few calls keeps its old R0.
            self._base |= {
                name: each.mean for name, each in self._measured.items() if each.many >= _FEW
            }
            self._end(now)

    def _end(self, now: float) -> None:
        """End the measurement."""
        assert self._asked is not None
        passed, self._asked = now - self._asked, None
        self._next = now + max(_AGAIN, _RARELY * passed) * self._chance.uniform(0.9, 1.1)
        self._loaded = LimiterSample()
        self.resource.total = int(self._limit)


def _count(counts: dict[K, int], key: K, by: int) -> None:
    many = counts.get(key, 0) + by
    if many:
        counts[key] = many
    else:
        counts.pop(key, None)
