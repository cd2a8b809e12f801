"""Outlier ejection: servers that fail or are much slower than the others get no calls for a while.

An ejected server gets one call that probes it, and returns slowly.

    FIT -> OUT (failures in a row, or much slower)
    OUT -> TRIED (its time is over, and a call probes it)
    TRIED -> FIT (the call went well), or OUT again, for twice as long
    any -> SILENT (a ping gets no reply) -> FIT (it sends something)

At most half of all servers are out: if most servers fail, the fault is not theirs, and if none is
fit, all get calls.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import inf
from statistics import median

from ..errors import UsageError
from .loads import Load

# Seconds between two checks of all servers.
LOOK = 0.1
# Seconds in which a new or recovered server reaches its full share, and its share at first.
SLOW_START, AT_FIRST = 3.0, 0.1
# Seconds without a message, while calls are in flight, before the client pings a server; and
# seconds from then until it counts as silent.
ASK_AFTER, SILENT_AFTER = 0.25, 0.5
# Replies needed before a server can count as slow.
_KNOWN = 10
# Maximum doublings: a server that stays sick is ejected more often than a float can be doubled.
_DOUBLED = 64


@dataclass(frozen=True)
class Ejection:
    """Rules for ejecting a server from the choice.

    `failures`: number in a row that ejects it: missed deadlines, refusals for lack of room, errors
    of handlers; 0 for never.
    `slowness`: it is ejected if three of four of its replies take this many times as long as the
    median of all other servers; 0 for never.
    `seconds`: duration of the first ejection, doubled each time up to `at_most`.
    """

    failures: int = 5
    slowness: float = 5.0
    seconds: float = 1.0
    at_most: float = 30.0

    def __post_init__(self) -> None:
        if not (self.failures >= 0 and self.slowness >= 0 and 0 < self.seconds <= self.at_most):
            raise UsageError(
                f"{self} is invalid: failures and slowness must be 0 or more, "
                "seconds above 0 and at most at_most"
            )


NEVER = Ejection(failures=0, slowness=0)


def ejection_of(given: Ejection | bool) -> Ejection:
    """The default ejection for True, none for False. Raises UsageError for any other value."""
    if isinstance(given, Ejection):
        return given
    if isinstance(given, bool):
        return Ejection() if given else NEVER
    raise UsageError(
        f"ejection must be True, False or a ringback.balancing.Ejection, not {given!r}"
    )


class HealthCondition(enum.Enum):
    FIT = "fit"
    OUT = "out"
    TRIED = "tried"
    SILENT = "silent"


class Health:
    """The health of one server.
    `until`: when its ejection ends; `since`: when its slow start began."""

    __slots__ = ("asked", "condition", "heard", "load", "since", "times", "until")

    def __init__(self, load: Load) -> None:
        self.load = load
        self.opened(-inf)

    def opened(self, now: float) -> None:
        """The server is connected, and nothing is known of it yet."""
        self.condition = HealthCondition.FIT
        self.since = now
        self.load.share = AT_FIRST
        self.until = 0.0
        self.times = 0  # ejections, without a long healthy time between them
        self.heard = now
        self.asked: float | None = None


class Outliers:
    """The outliers among the servers that one client is connected to.
    `changed`: some server became fit or unfit."""

    def __init__(self, ejection: Ejection) -> None:
        self._ejection = ejection
        self.changed = False

    def failed(
        self, health: Health, among: Sequence[Health], now: float, *, tried: bool = False
    ) -> None:
        """A call failed by the fault of the server or its connection. `tried`: it was the probe."""
        load, limit = health.load, self._ejection.failures
        load.failures += 1
        if tried and health.condition is HealthCondition.TRIED:
            self._eject(health, now)
        elif limit and load.failures >= limit and health.condition is HealthCondition.FIT:
            # If calls fail at all servers, as invalid calls do, it is no fault of this one.
            others_fail = all(
                2 * each.load.failures > load.failures for each in among if each is not health
            )
            if not others_fail and self._may(among):
                self._eject(health, now)

    def went_well(
        self, health: Health, seconds: float | None, among: Sequence[Health], now: float
    ) -> None:
        """The probe got its reply, after `seconds` if that time tells something."""
        usual = None if seconds is None else _usual(health, among)
        if seconds is not None and usual and seconds > self._ejection.slowness * usual > 0:
            self._eject(health, now)
        else:
            self._admit(health, now)

    def tried(self, health: Health) -> None:
        """A call is sent as a probe."""
        health.condition = HealthCondition.TRIED

    def due(self, health: Health, now: float) -> bool:
        """Whether its ejection has lasted long enough for a probe."""
        return health.condition is HealthCondition.OUT and now >= health.until

    def given_up(self, health: Health, now: float) -> None:
        """The probe ended without evidence."""
        if health.condition is HealthCondition.TRIED:
            health.condition, health.until = HealthCondition.OUT, now

    def heard(self, health: Health, now: float) -> None:
        """The server has sent something."""
        health.heard, health.asked = now, None
        if health.condition is HealthCondition.SILENT:
            self._admit(health, now)

    def look(self, among: Sequence[Health], now: float) -> tuple[list[Health], list[Health]]:
        """Check all servers, now and then.
        Returns those to ping, and those that have not answered a ping in time. Calls of the silent
        ones may be sent elsewhere."""
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
        """Update the shares and find slow servers, now and then, even with no call in flight."""
        # The servers that a starting client connects to are all new, so none gets a slow start.
        all_new = min((health.since for health in among), default=-inf) > now - SLOW_START
        for health in among:
            begun = now - health.since
            health.load.share = (
                1.0 if all_new or begun >= SLOW_START else max(AT_FIRST, begun / SLOW_START)
            )
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
            # If methods differ, a server may have got the slow ones by chance, but hardly three
            # times in four.
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
    """The median response time of the others; None if too little is known."""
    times = [
        seconds
        for other in among
        if other is not health
        and other.condition is HealthCondition.FIT
        and len(other.load.times) >= _KNOWN
        for seconds in other.load.times
    ]
    return median(times) if times else None
