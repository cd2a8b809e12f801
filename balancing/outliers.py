"""Which servers are fit: those that fail or are much slower than the others get no calls for a while, then one to try them, and come back
slowly.

    FIT -> OUT (failures in a row, or much slower)        any -> SILENT (asked whether it is there, it does not answer) -> FIT (it is heard)
    OUT -> TRIED (its time is over, and a call is sent) -> FIT (that went well), or OUT again, for twice as long

What is out is at most half of all: where most servers fail, it is not they that are at fault, and where none is fit, all are asked.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import inf
from statistics import median

from ..errors import UsageError
from .loads import Load

# Seconds from one look at all servers to the next.
LOOK = 0.1
# Seconds in which a server that is new, or fit again, comes to its full share, and what it gets at first.
SLOW_START, AT_FIRST = 3.0, 0.1
# Seconds without a word, while calls wait for an answer, before a server is asked whether it is there, and then before it is taken for
# silent.
ASK_AFTER, SILENT_AFTER = 0.25, 0.5
# Answers that must be known of a server before it can be too slow.
_KNOWN = 10
# A server that stays sick is out more often than a float can be doubled.
_DOUBLED = 64


@dataclass(frozen=True)
class Ejection:
    """When a server gets no calls for a while.

    `failures`: after so many in a row: answers that did not come in time, refusals for want of room, handlers that raise; 0 for never.
    `slowness`: when three of four of its answers take so many times as long as the median of all other servers; 0 for never.
    `seconds`: for so long, doubled each time up to `at_most`.
    """

    failures: int = 5
    slowness: float = 5.0
    seconds: float = 1.0
    at_most: float = 30.0

    def __post_init__(self) -> None:
        if not (self.failures >= 0 and self.slowness >= 0 and 0 < self.seconds <= self.at_most):
            raise UsageError(
                f"{self} cannot be: its numbers are 0 or more, and seconds above 0 and at most at_most"
            )


NEVER = Ejection(failures=0, slowness=0)


def ejection_of(given: Ejection | bool) -> Ejection:
    """True: the usual one; False: none for failures or slowness. Raises UsageError for all else."""
    if isinstance(given, Ejection):
        return given
    if isinstance(given, bool):
        return Ejection() if given else NEVER
    raise UsageError(f"ejection must be True, False or a ringback.balancing.Ejection, not {given!r}")


class HealthCondition(enum.Enum):
    FIT = "fit"
    OUT = "out"
    TRIED = "tried"
    SILENT = "silent"


class Health:
    """Of one server. `until` is when it has been out for long enough, `since` when its slow start began."""

    __slots__ = ("asked", "condition", "heard", "load", "since", "times", "until")

    def __init__(self, load: Load) -> None:
        self.load = load
        self.opened(-inf)

    def opened(self, now: float) -> None:
        """It is connected: nothing is known of it yet."""
        self.condition = HealthCondition.FIT
        self.since = now
        self.load.share = AT_FIRST
        self.until = 0.0
        self.times = 0  # out, without having been well for long
        self.heard = now
        self.asked: float | None = None


class Outliers:
    """Of the servers that one client is connected to. `changed` says that some is fit that was not, or the other way round."""

    def __init__(self, ejection: Ejection) -> None:
        self._ejection = ejection
        self.changed = False

    def failed(self, health: Health, among: Sequence[Health], now: float, *, tried: bool = False) -> None:
        """A call to it failed, and it was the server or the way that was at fault; `tried`: the call that tried it."""
        load, limit = health.load, self._ejection.failures
        load.failures += 1
        if tried and health.condition is HealthCondition.TRIED:
            self._eject(health, now)
        elif limit and load.failures >= limit and health.condition is HealthCondition.FIT:
            # Where calls fail wherever they go, as those do that are wrong themselves, it is no fault of this one.
            others_fail = all(2 * each.load.failures > load.failures for each in among if each is not health)
            if not others_fail and self._may(among):
                self._eject(health, now)

    def went_well(self, health: Health, seconds: float | None, among: Sequence[Health], now: float) -> None:
        """The call that tried it was answered, after so long, where that tells something."""
        usual = None if seconds is None else _usual(health, among)
        if seconds is not None and usual and seconds > self._ejection.slowness * usual > 0:
            self._eject(health, now)
        else:
            self._admit(health, now)

    def tried(self, health: Health) -> None:
        """A call is sent to see whether it is well."""
        health.condition = HealthCondition.TRIED

    def due(self, health: Health, now: float) -> bool:
        """Whether it has been out for long enough to be tried."""
        return health.condition is HealthCondition.OUT and now >= health.until

    def given_up(self, health: Health, now: float) -> None:
        """The call that tried it told nothing."""
        if health.condition is HealthCondition.TRIED:
            health.condition, health.until = HealthCondition.OUT, now

    def heard(self, health: Health, now: float) -> None:
        """It said something."""
        health.heard, health.asked = now, None
        if health.condition is HealthCondition.SILENT:
            self._admit(health, now)

    def look(self, among: Sequence[Health], now: float) -> tuple[list[Health], list[Health]]:
        """From time to time. Who is to be asked whether it is there, and who has not answered that: what waits for these may be sent
        elsewhere."""
        self.review(among, now)
        ask, silent = [], []
        for health in among:
            load = health.load
            if not load.in_flight or health.condition is HealthCondition.SILENT:
                continue
            if health.asked is not None:
                if now - health.asked >= SILENT_AFTER:
                    health.condition, self.changed = HealthCondition.SILENT, True
                    silent.append(health)
            elif now - max(health.heard, load.progressed) >= ASK_AFTER:
                health.asked = now
                ask.append(health)
        return ask, silent

    def review(self, among: Sequence[Health], now: float) -> None:
        """From time to time, also where none of them has anything to answer: how much each gets, and who is slow."""
        # Those that a client has connected to when it began are all new, and none of them is spared.
        all_new = min((health.since for health in among), default=-inf) > now - SLOW_START
        for health in among:
            begun = now - health.since
            health.load.share = 1.0 if all_new or begun >= SLOW_START else max(AT_FIRST, begun / SLOW_START)
            if health.condition is HealthCondition.FIT and begun >= 10 * self._ejection.at_most:
                health.times = 0
        self._find_slow(among, now)

    def _find_slow(self, among: Sequence[Health], now: float) -> None:
        factor = self._ejection.slowness
        if not factor:
            return
        for health in among:
            times = health.load.times
            if health.condition is not HealthCondition.FIT or len(times) < _KNOWN:
                continue
            usual = _usual(health, among)
            # Where methods differ, a server may have been given the slow ones by chance; hardly three of four times.
            if usual and sorted(times)[len(times) // 4] > factor * usual and self._may(among):
                self._eject(health, now)

    def _may(self, among: Sequence[Health]) -> bool:
        out = sum(health.condition is not HealthCondition.FIT for health in among)
        return out + 1 <= len(among) // 2

    def _eject(self, health: Health, now: float) -> None:
        doubled = 2.0 ** min(health.times, _DOUBLED)
        seconds = min(self._ejection.seconds * doubled, self._ejection.at_most)
        health.condition, health.until, self.changed = HealthCondition.OUT, now + seconds, True
        health.times += 1
        health.load.failures = 0
        health.load.times.clear()

    def _admit(self, health: Health, now: float) -> None:
        health.condition, health.since, self.changed = HealthCondition.FIT, now, True
        health.load.share = AT_FIRST
        health.load.forget_times()


def _usual(health: Health, among: Iterable[Health]) -> float | None:
    """The median response time of the others; None where too little is known."""
    times = [
        seconds
        for other in among
        if other is not health and other.condition is HealthCondition.FIT and len(other.load.times) >= _KNOWN
        for seconds in other.load.times
    ]
    return median(times) if times else None
