"""How many calls to run at once, learned from how long they take: no loop, no clock, chance as an argument.

If calls take R seconds where R0 would do, then of the L that run only L * R0 / R are served while the others wait inside (Little 1961):
so many are enough, and a few more to learn from. That is the gradient of Netflix's concurrency-limits (GradientLimit, 2018). R0 is
measured again from time to time with hardly any call beside, as Envoy's adaptive concurrency filter does: under a steady overload it
would creep up.
"""

from __future__ import annotations

import random
from math import sqrt
from typing import TypeVar

from .resources import Resource

K = TypeVar("K")

# Where learning begins, and its bounds.
FIRST, LEAST, MOST = 10, 1, 10_000

# Calls that run at once while R0 is measured, and how long that may take, in seconds.
_QUIET = 2
_QUIET_SECONDS = 2.0

# Seconds until R0 is measured again, give or take a tenth; and that time at least so many times what the measurement took.
_AGAIN = 10.0
_RARELY = 50.0

# A mean is known of so many calls at least, when its standard error is below this part of it; or of so many at most. R0, which stays for
# long, needs more calls: among few there may be none of the long ones.
_CALLS, _ERROR, _MANY = 10, 0.15, 200
_QUIET_CALLS = 50
_FEW = 5

# Seconds after which a measurement is given up: calls that take longer would keep all others from beginning.
_PATIENCE = 5.0

# Calls may take so many times R0 before that is put down to too many of them.
_TOLERANCE = 1.5

# How far a new limit goes from the old one to what was found, and what part of the old one has to be in use for it to grow.
_STEP = 0.5
_FULL = 0.9

# Waiting may take this part of the time that a call has beside its running: estimates err, and what begins too late runs for nobody.
_HOPE = 0.5

# The weight of the newest running time in the mean.
_NEWEST = 0.05


class LimiterSample:
    """Running times, in seconds."""

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
        """Whether the mean is more than an accident of the sample."""
        if self.many < least:
            return False
        mean = self.mean
        variance = max(0.0, self.squares / self.many - mean * mean)
        return self.many >= _MANY or variance <= self.many * (_ERROR * mean) ** 2


class Limiter:
    """Learns the total of its `resource`, of which every call that runs takes one.

    Calls of several methods may share it. Running times are counted in those of their method: R0 is 1 for all.
    """

    def __init__(self, name: str, chance: random.Random) -> None:
        self.resource = Resource(name, FIRST)
        self._chance = chance
        self._limit = float(FIRST)
        self._seconds = 0.0
        self._waiting: dict[int, int] = {}  # calls, by priority
        self._clients: dict[object, int] = {}  # and by client
        self._base: dict[str, float] = {}  # R0, by method
        self._loaded = LimiterSample()
        # The measurement of R0: since when it goes on, since when it is quiet, and what was measured, by method.
        self._asked: float | None = None
        self._quiet: float | None = None
        self._measured: dict[str, LimiterSample] = {}
        self._next = 0.0

    @property
    def limit(self) -> int:
        """How many calls may run at once, but for the moments in which R0 is measured."""
        return int(self._limit)

    def waits(self, client: object, priority: int, by: int = 1) -> None:
        """So many calls of that client and priority more wait for the limit."""
        _count(self._waiting, priority, by)
        _count(self._clients, client, by)

    def too_late(self, client: object, priority: int, left: float) -> bool:
        """Whether a call that comes now is likely to wait for too long, if beside its running so many seconds are left to it."""
        before = sum(many for other, many in self._waiting.items() if other >= priority)
        # Clients take turns, so that of each as many are before it as it has itself.
        before = min(before, (self._clients.get(client, 0) + 1) * len(self._clients))
        return before * self._seconds / self._limit > _HOPE * left

    def look(self, now: float) -> None:
        """From time to time: a measurement that calls keep from ending is given up."""
        if self._asked is not None and now - self._asked > _PATIENCE:
            self._end(now)

    def finished(self, method: str, began: float, now: float) -> None:
        """A call has ended that began then; the resource is free of it."""
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
        """A call has taken so many times R0."""
        loaded = self._loaded
        loaded.add(times)
        if loaded.many < self._limit / 2 or not loaded.known(_CALLS):
            return
        found = self._limit * min(1.0, _TOLERANCE / loaded.mean) + sqrt(self._limit)
        # Where calls were too few to fill it, that they were served well says nothing of a higher limit.
        if found < self._limit or self.resource.taken + 1 >= _FULL * self.resource.total:
            self._limit = min(float(MOST), max(float(LEAST), self._limit + _STEP * (found - self._limit)))
            self.resource.total = int(self._limit)
        self._loaded = LimiterSample()

    def _compare(self, method: str, began: float, now: float) -> None:
        """While R0 is measured: what began when it was quiet counts."""
        assert self._asked is not None
        if self._quiet is None:
            if self.resource.taken < _QUIET:
                self._quiet = now
            return
        if began >= self._quiet:
            self._measured.setdefault(method, LimiterSample()).add(now - began)
        over = now - self._quiet >= _QUIET_SECONDS
        if over or any(sample.known(_QUIET_CALLS) for sample in self._measured.values()):
            # A method that was called too rarely keeps what is known of it.
            self._base |= {name: each.mean for name, each in self._measured.items() if each.many >= _FEW}
            self._end(now)

    def _end(self, now: float) -> None:
        """The measurement is over."""
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
