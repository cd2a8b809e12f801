"""The windows of one cell, round after round, and what they are together. Runs in the parent, between windows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from hdrh.histogram import HdrHistogram
from numpy.typing import NDArray

from ..load.sample import Sample, Timed
from ..results import (
    Balance,
    Consistency,
    Cpu,
    Latency,
    Limit,
    Little,
    Memory,
    Rate,
    Result,
    Round,
    Tick,
    Waiting,
)
from ..workloads import variants
from .observe import CEILING
from .pair import Window

Floats = NDArray[np.float64]

# A round's percentile is only kept where so many samples lie beyond it.
_BEYOND = 10

# The histogram's range, in nanoseconds, and its precision, in digits.
_HIGHEST = 3_600 * 10**9
_DIGITS = 3

_TICKS = 5

# How far Little's law may be off, from empty to empty and in a closed loop's window.
_WHOLE = 0.01
_INSIDE = 0.03

# Of so many rounds at least the law must close, and of half of them.
_FEWEST = 2

# A client that sends later than this is the limit of an open loop.
_SLIP = 0.0015


class Times(NamedTuple):
    """The timed calls of a window, seconds: when they ended (from the window's opening), how long they took from when they were due and
    from when they were sent, and how late that was."""

    ended: Floats
    response: Floats
    service: Floats
    slip: Floats

    @classmethod
    def of(cls, timed: list[Timed]) -> Times:
        due, sent, ended = (
            np.concatenate([np.frombuffer(column) for column in columns] or [np.empty(0)])
            for columns in (
                [each.due for each in timed],
                [each.sent for each in timed],
                [each.ended for each in timed],
            )
        )
        return cls(ended, ended - due, ended - sent, sent - due)


def rank(ordered: Floats, part: float) -> float:
    """The least sample that so large a part of all does not exceed, of one sample at least, in ascending order."""
    return float(ordered[max(1, int(np.ceil(len(ordered) * part - 1e-9))) - 1])


def latency(samples: Floats) -> Latency:
    """Where they lie; all None where there is none."""
    if not len(samples):
        return Latency()
    ordered = np.sort(samples)
    p50, p90, p99, p999, highest = (rank(ordered, part) for part in (0.5, 0.9, 0.99, 0.999, 1.0))
    return Latency(p50, p90, p99, p999, highest, float(ordered.mean()))


def enough(samples: int, part: float, beyond: int = _BEYOND) -> bool:
    """Whether that rank of so many samples is more than the accident of a few."""
    return samples * (1 - part) >= beyond - 1e-9


def histogram(samples: Floats) -> HdrHistogram:
    """The samples, which are seconds, as nanoseconds."""
    made = HdrHistogram(1, _HIGHEST, _DIGITS)
    for value, count in zip(
        *np.unique(np.rint(samples * 1e9).astype(np.int64), return_counts=True), strict=True
    ):
        made.record_value(int(value), int(count))
    return made


class Measured:
    """One cell: who serves and calls, in which style, what; and its windows."""

    def __init__(
        self, backend: str, client: str, window: Window, *, workers: int, peer: bool = False
    ) -> None:
        self.backend = backend
        self.client = client
        self.load = window.load
        self.difference = ""
        self._workers = workers
        self.peer = peer
        self.rounds: list[Round] = []
        self._windows: list[tuple[Window, Times]] = []
        self._errors: Counter[str] = Counter()
        self._wrong = 0
        self.why = ""
        self._consistency: list[Consistency] = []
        self._ticks: list[Tick] = []

    def rehearsed(self, sample: Sample) -> None:
        """A window whose times do not count, but whose mistakes do."""
        self._errors.update(sample.errors)
        self._wrong += sample.wrong
        self.why = self.why or sample.why
        if sample.consistency is not None:
            self._consistency.append(sample.consistency)

    def add(
        self, number: int, at: float, window: Window, ceiling: float | None, *, repeated: bool = False
    ) -> Round:
        """The window of that round; a repeated one takes the place of the first."""
        if repeated:
            self.rounds.pop()
            self._windows.pop()
            self._ticks = [tick for tick in self._ticks if tick.round != number]
        self.load = window.load  # the rehearsal's may have been another
        self.rehearsed(window.sample)
        times = Times.of(window.sample.timed)
        made = round_of(number, at, window, times, ceiling, repeated=repeated)
        self.rounds.append(made)
        self._windows.append((window, times))
        self._ticks += _series(number, window, times)
        return made

    def result(self) -> Result:
        """All rounds together; those in which Little's law is off only where it is in too many, and nothing is claimed of the cell."""
        void = _void(self.rounds)
        good = [each for each, made in zip(self._windows, self.rounds, strict=True) if made.little.ok or void]
        rounds = [made for made in self.rounds if made.little.ok or void]
        windows = [window for window, _ in good]
        calls, seconds = (
            sum(window.sample.calls for window in windows),
            sum(each.load.window for each in windows),
        )
        times = Times(*(np.concatenate([getattr(each, name) for _, each in good]) for name in Times._fields))
        opened = self.load.open
        methods = {timed.method for window in windows for timed in window.sample.timed}
        return Result(
            backend=self.backend,
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
            workers=self._workers,
            seconds=seconds,
            protect=variants.way(self.load.workload, variants.COUNTER),
            optimise=variants.way(self.load.workload, variants.READ),
            policy=variants.way(self.load.workload, variants.BALANCE),
            servers=self.load.servers,
            loop="open" if opened else "closed",
            rate=rate(windows) if opened else None,
            service=latency(times.service) if opened else None,
            slip=latency(times.slip) if opened else None,
            methods={method: latency(_of(method, windows)) for method in sorted(methods)}
            if len(methods) > 1
            else {},
            cpu=Cpu(**_means([each.cpu for each in rounds])),
            waiting=Waiting(**_means([each.waiting for each in rounds])),
            memory=_memory(self.rounds),
            consistency=variants.total(self._consistency) if self._consistency else None,
            balance=_balance(windows),
            limit=Counter(each.limit for each in rounds).most_common(1)[0][0],
            ceiling_share=_median([each.ceiling_share for each in rounds]),
            void=void,
            why=self.why,
            peer=self.peer,
            difference=self.difference,
            rounds=self.rounds,
            histogram=histogram(times.response).encode().decode(),
            series=self._ticks,
        )


def _balance(windows: Sequence[Window]) -> Balance | None:
    inside = sum(each.inside for window in windows for each in window.begun)
    whole = sum(each.whole for window in windows for each in window.begun)
    made = sum(window.sample.made for window in windows)
    if not inside or not made:
        return None
    return Balance(sum(window.begun[-1].inside for window in windows) / inside, whole / made - 1)


def _of(method: str, windows: Sequence[Window]) -> Floats:
    timed = [each for window in windows for each in window.sample.timed if each.method == method]
    return Times.of(timed).response


def round_of(
    number: int, at: float, window: Window, times: Times, ceiling: float | None, *, repeated: bool
) -> Round:
    """The figures of one window."""
    sample, seen, load = window.sample, window.observed, window.load
    found = latency(times.response)
    service = latency(times.service)
    throughput = sample.calls / load.window
    share = throughput / ceiling if ceiling else None
    many = len(times.response)
    return Round(
        round=number,
        at=round(at, 3),
        throughput=throughput,
        calls=sample.calls,
        p50=found.p50,
        p90=found.p90 if enough(many, 0.9) else None,
        p99=found.p99 if enough(many, 0.99) else None,
        mean=found.mean,
        service_mean=service.mean,
        rate=rate([window]) if load.open else None,
        cpu=seen.cpu,
        waiting=seen.waiting,
        memory=seen.memory,
        little=_little(window),
        limit=_limit(seen.limit, share, times, open=load.open),
        ceiling_share=share,
        steal=seen.steal,
        others=seen.others,
        contaminated=seen.contaminated,
        repeated=repeated,
        steady=_steady(times.ended, load.window),
    )


def rate(windows: list[Window]) -> Rate:
    """Of an open loop. It is overloaded where more than 1 % of what was due is missing, and more than chance has left in flight."""
    seconds = sum(window.load.window for window in windows)
    due, calls, skipped = (
        sum(getattr(window.sample, name) for window in windows) for name in ("due", "calls", "skipped")
    )
    # Arrivals are random: so are, with the spread of a Poisson number, those that are under way at either edge of a window.
    under_way = sum(
        2 * window.sample.calls / window.load.window * window.sample.residence for window in windows
    )
    missing = due - calls
    peak = windows[0].load.peak
    overloaded = peak is None and missing > 0.01 * due + 3 * under_way**0.5
    return Rate(due / seconds, calls / seconds, skipped, overloaded, peak)


def _little(window: Window) -> Little:
    """Source: Little 1961, Operations Research 9(3); the response time law for the window, Denning and Buzen 1978."""
    sample = window.sample
    # Calls that straddle an edge of the window belong to it in part. Where all callers are in step, that is one call more or less of each.
    allowed = _INSIDE + sample.residence / window.load.window
    ok = (sample.whole is None or abs(sample.whole - 1) <= _WHOLE) and (
        sample.inside is None or abs(sample.inside - 1) <= allowed
    )
    return Little(sample.whole, sample.inside, allowed, ok)


def _limit(seen: Limit, share: float | None, times: Times, *, open: bool) -> Limit:  # noqa: A002
    if seen == "machine":
        return seen
    if share is not None and share > CEILING:
        return "client"
    if open and len(times.slip):
        late, usual = rank(np.sort(times.slip), 0.99), float(np.median(times.response))
        if late > max(_SLIP, usual / 4):
            return "client"
    return seen


def _steady(ended: Floats, window: float) -> bool:
    """Whether both halves of the window had as many calls, within 10 % or what chance makes of so few."""
    first = int((ended < window / 2).sum())
    second = int((ended < window).sum()) - first
    return bool(abs(first - second) <= max(0.1 * max(first, second), 3 * (first + second) ** 0.5))


def _series(number: int, window: Window, times: Times) -> list[Tick]:
    seconds = window.load.window / _TICKS
    stride = window.load.stride
    ticks = []
    for index in range(_TICKS):
        inside = (times.ended >= index * seconds) & (times.ended < (index + 1) * seconds)
        found = latency(times.response[inside])
        ticks.append(
            Tick(
                number,
                round(index * seconds, 4),
                float(inside.sum()) * stride / seconds,
                found.p50,
                found.p99,
            )
        )
    return ticks


def _means(structs: Sequence[Cpu | Waiting]) -> dict[str, float | None]:
    """Each field's mean over those that have it."""
    names = structs[0].__struct_fields__ if structs else ()
    columns = {name: [getattr(each, name) for each in structs] for name in names}
    found = {name: [value for value in column if value is not None] for name, column in columns.items()}
    return {name: float(np.mean(values)) if values else None for name, values in found.items()}


def _memory(rounds: list[Round]) -> Memory:
    """The largest: what it takes to run."""
    server = [each.memory.server for each in rounds if each.memory.server is not None]
    client = [each.memory.client for each in rounds if each.memory.client is not None]
    connection = _median([each.memory.per_connection for each in rounds])
    return Memory(max(server, default=None), max(client, default=None), connection)


def _median(values: list[float | None]) -> float | None:
    found = [value for value in values if value is not None]
    return float(np.median(found)) if found else None


def _void(rounds: list[Round]) -> str:
    """Why the cell proves nothing; "" where it may."""
    broken = [each.little for each in rounds if not each.little.ok]
    good = len(rounds) - len(broken)
    if not broken or (good >= _FEWEST and good >= len(broken)):
        return ""
    worst = broken[0]
    return f"Little's law is off in {len(broken)} of {len(rounds)} windows: whole {worst.whole}, window {worst.window}"
