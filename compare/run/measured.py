"""The slices of one cell, and their figures by round and in total.

Runs in the parent process, between slices.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import exp
from statistics import median
from typing import NamedTuple, TypeVar

import numpy as np
from hdrh.histogram import HdrHistogram
from msgspec.structs import astuple
from numpy.typing import NDArray

from ..load.plan import OfferedLoad
from ..load.sample import Sample
from ..results import Consistency, Cpu, Latency, Limit, Little, Memory, Rate, Result, Round
from ..workloads import variants
from .observe import limit_of
from .pair import Slice

Floats = NDArray[np.float64]
T = TypeVar("T")

# A round reports a percentile only if at least this many samples lie beyond it.
_BEYOND = 10

# The histogram's range, in nanoseconds, and its precision, in digits.
_HIGHEST = 3_600 * 10**9
_DIGITS = 3

# Allowed deviation from Little's law, and seconds of each call between its two clocks.
_WHOLE = 0.01
_BETWEEN = 3e-6

# The law must hold in at least this many rounds, and in half of all.
_FEWEST = 2

# Seconds. An open loop whose p99 of sending late exceeds this is limited by the client.
_SLIP = 0.0015


class Times(NamedTuple):
    """The timed calls of some slices, in seconds: when each ended (from the window's opening), how
    long it took from when it was due and from when it was sent, and how late it was sent."""

    ended: Floats
    response: Floats
    service: Floats
    slip: Floats

    @classmethod
    def of(cls, windows: Iterable[Slice], method: str | None = None) -> Times:
        """The times of all calls, or of one method."""
        timed = [
            each
            for window in windows
            for each in window.sample.timed
            if method in (None, each.method)
        ]
        due, sent, ended = (
            np.concatenate([np.frombuffer(getattr(each, name)) for each in timed] or [np.empty(0)])
            for name in ("due", "sent", "ended")
        )
        return cls(ended, ended - due, ended - sent, sent - due)


def rank(ordered: Floats, part: float) -> float:
    """The quantile at `part` (0..1): the least sample that this part of all does not exceed.

    `ordered` is in ascending order, and not empty.
    """
    return float(ordered[max(1, int(np.ceil(len(ordered) * part - 1e-9))) - 1])


def latency(samples: Floats) -> Latency:
    """Percentiles, maximum and mean of the samples; all None if there are none."""
    if not len(samples):
        return Latency()
    ordered = np.sort(samples)
    p50, p90, p99, p999, highest = (rank(ordered, part) for part in (0.5, 0.9, 0.99, 0.999, 1.0))
    return Latency(p50, p90, p99, p999, highest, float(ordered.mean()))


def enough(samples: int, part: float, beyond: int = _BEYOND) -> bool:
    """Whether at least `beyond` of the samples lie beyond the quantile at `part`."""
    return samples * (1 - part) >= beyond - 1e-9


def histogram(samples: Floats) -> HdrHistogram:
    """A histogram in nanoseconds of samples in seconds."""
    made = HdrHistogram(1, _HIGHEST, _DIGITS)
    for value, count in zip(
        *np.unique(np.rint(samples * 1e9).astype(np.int64), return_counts=True), strict=True
    ):
        made.record_value(int(value), int(count))
    return made


@dataclass(eq=False)
class Measured:
    """One cell and its rounds. A peer's cell has a `difference` from ringback, in words."""

    arm: str
    client: str
    load: OfferedLoad
    workers: int
    backend: str
    difference: str = ""
    rounds: list[Round] = field(default_factory=list)
    why: str = ""
    _slices: list[Sequence[Slice]] = field(default_factory=list)
    _errors: Counter[str] = field(default_factory=Counter)
    _wrong: int = 0
    _consistency: list[Consistency] = field(default_factory=list)

    @property
    def peer(self) -> bool:
        """Whether the server is another library."""
        return bool(self.difference)

    def count_errors(self, sample: Sample) -> None:
        """Count a slice's errors, wrong replies and inconsistencies, but not its times."""
        self._errors.update(sample.errors)
        self._wrong += sample.wrong
        self.why = self.why or sample.why
        if sample.consistency is not None:
            self._consistency.append(sample.consistency)

    @property
    def broken(self) -> str:
        if self._wrong:
            return f"wrong: {self.why}"
        codes = ", ".join(f"{number:,} {code}" for code, number in self._errors.items())
        return f"{codes}: {self.why}" if codes else ""

    def add(self, made: Round, windows: Sequence[Slice]) -> None:
        self.load = windows[0].load  # the calibration's load may differ
        for window in windows:
            self.count_errors(window.sample)
        self.rounds.append(made)
        self._slices.append(windows)

    def result(self) -> Result:
        """The figures of all good rounds together. A void cell, of which nothing is claimed, has
        all its rounds."""
        void = _void(self.rounds)
        good = [
            (made, slices)
            for made, slices in zip(self.rounds, self._slices, strict=True)
            if made.little.ok or void
        ]
        rounds = [made for made, _ in good]
        windows = [window for _, slices in good for window in slices]
        calls = sum(window.sample.answered for window in windows)
        seconds = sum(window.sample.seconds for window in windows)
        times = Times.of(windows)
        opened = self.load.open
        methods = {timed.method for window in windows for timed in window.sample.timed}
        return Result(
            backend=self.backend,
            arm=self.arm,
            client=self.client,
            style=self.load.style,
            workload=self.load.workload,
            concurrency=self.load.concurrency,
            throughput=calls / seconds,
            latency=latency(times.response),
            errors=self._errors.total(),
            calls=calls,
            errors_by_code=dict(self._errors),
            wrong=self._wrong,
            workers=self.workers,
            seconds=seconds,
            protect=variants.variant(self.load.workload, variants.COUNTER),
            optimise=variants.variant(self.load.workload, variants.READ),
            loop="open" if opened else "closed",
            rate=rate(windows) if opened else None,
            service=latency(times.service) if opened else None,
            slip=latency(times.slip) if opened else None,
            methods={
                method: latency(Times.of(windows, method).response) for method in sorted(methods)
            }
            if len(methods) > 1
            else {},
            cpu=Cpu(*np.mean([astuple(each.cpu) for each in rounds], axis=0).tolist()),
            memory=_largest(each.memory for each in self.rounds),
            consistency=variants.total(self._consistency) if self._consistency else None,
            limit=Counter(each.limit for each in rounds).most_common(1)[0][0],
            void=void,
            why=self.why,
            peer=self.peer,
            difference=self.difference,
            rounds=self.rounds,
            histogram=histogram(times.response).encode().decode(),
        )


def beside(units: Sequence[Mapping[T, Sequence[float]]]) -> dict[T, float]:
    """By arm: one figure from those of its slices in each unit; see `level_beside`."""
    return level_beside(
        [
            {
                arm: float(np.mean(np.log(found)))
                for arm, found in unit.items()
                if found and min(found) > 0
            }
            for unit in units
        ]
    )


def level_beside(units: Sequence[Mapping[T, float]]) -> dict[T, float]:
    """By arm: one figure from the logarithms of its figure in each unit.

    It is the median over units of the arm's deviation from the unit's mean, added to the mean of
    all units. A single slice that a neighbour disturbed moves no median.
    """
    units = [unit for unit in units if unit]
    if not units:
        return {}
    means = [sum(unit.values()) / len(unit) for unit in units]
    level = sum(means) / len(means)
    return {
        arm: exp(
            level
            + median(
                unit[arm] - mean for unit, mean in zip(units, means, strict=True) if arm in unit
            )
        )
        for arm in dict.fromkeys(arm for unit in units for arm in unit)
    }


def speed(window: Slice) -> float:
    """Calls/s, from the first call to the last reply."""
    return window.sample.answered / window.sample.seconds


def median_time(window: Slice) -> float:
    """Median response time in seconds; 0 if it has none."""
    return latency(Times.of([window]).response).p50 or 0.0


def round_of(
    number: int,
    at: float,
    windows: Sequence[Slice],
    *,
    throughput: float | None = None,
    p50: float | None = None,
) -> Round:
    """The figures of one round. `throughput` and `p50`, if given, replace those of its own slices:
    they are relative to the arms that took turns with it."""
    times = Times.of(windows)
    load = windows[0].load
    calls = sum(each.sample.answered for each in windows)
    seconds = sum(each.sample.seconds for each in windows)
    found, many = latency(times.response), len(times.response)
    used = np.array([astuple(each.cpu) for each in windows], float)
    by_call = np.array([each.sample.answered or 1 for each in windows]) @ used[:, :2] / (calls or 1)
    busy = np.average(used[:, 2:], axis=0, weights=[each.sample.seconds for each in windows]).round(
        4
    )
    cpu = Cpu(*by_call.tolist(), *busy.tolist())
    return Round(
        round=number,
        at=round(at, 3),
        slices=len(windows),
        throughput=calls / seconds if throughput is None else throughput,
        calls=calls,
        p50=found.p50 if p50 is None else p50,
        p90=found.p90 if enough(many, 0.9) else None,
        p99=found.p99 if enough(many, 0.99) else None,
        mean=found.mean,
        rate=rate(windows) if load.open else None,
        cpu=cpu,
        memory=_largest(each.memory for each in windows),
        little=_little(windows),
        limit=_limit(limit_of(*busy.tolist()), times, open=load.open),
    )


def rate(windows: Sequence[Slice]) -> Rate:
    """The rates of an open loop.

    It is overloaded if more than 1 % of the due calls have no reply, and more than chance leaves in
    flight.
    """
    seconds = sum(window.load.window for window in windows)
    due, calls, skipped = (
        sum(getattr(window.sample, name) for window in windows)
        for name in ("due", "calls", "skipped")
    )
    # Arrivals are random, so the calls in flight at either edge of a window vary like a Poisson
    # number.
    under_way = sum(
        2 * window.sample.calls / window.load.window * window.sample.residence for window in windows
    )
    missing = due - calls
    peak = windows[0].load.peak
    overloaded = peak is None and missing > 0.01 * due + 3 * under_way**0.5
    return Rate(due / seconds, calls / seconds, skipped, overloaded, peak)


def _little(windows: Sequence[Slice]) -> Little:
    """Source: Little 1961, Operations Research 9(3)."""
    found = [each.sample.whole for each in windows if each.sample.whole is not None]
    whole = float(np.median(found)) if found else None
    stays = [each.sample.residence for each in windows if each.sample.residence]
    allowed = _WHOLE + (_BETWEEN / float(np.median(stays)) if stays else 0.0)
    return Little(whole, whole is None or abs(whole - 1) <= allowed)


def _limit(seen: Limit, times: Times, *, open: bool) -> Limit:  # noqa: A002
    if open and len(times.slip):
        late, usual = rank(np.sort(times.slip), 0.99), float(np.median(times.response))
        if late > max(_SLIP, usual / 4):
            return "client"
    return seen


def _largest(found: Iterable[Memory]) -> Memory:
    """The largest memory of each end; 0 if unknown."""
    server, client = zip(*((each.server or 0, each.client or 0) for each in found), strict=True)
    return Memory(max(server), max(client))


def _void(rounds: list[Round]) -> str:
    """Why the cell is void; "" if it is not."""
    broken = [each.little for each in rounds if not each.little.ok]
    good = len(rounds) - len(broken)
    if not broken or (good >= _FEWEST and good >= len(broken)):
        return ""
    worst = broken[0]
    return f"Little's law is off in {len(broken)} of {len(rounds)} rounds: {worst.whole:.3f}"
