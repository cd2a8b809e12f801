"""The experiment: in each round every backend once, each in fresh server and client processes, in random order, one under load at a time.

What is measured is in `cells` as it comes, so that an interrupted run keeps it.
"""

from __future__ import annotations

import random
import time
from contextlib import ExitStack
from dataclasses import replace
from statistics import median
from tempfile import TemporaryDirectory
from typing import Protocol

from ...clients.threading import connect
from ...errors import CallError
from ..load.plan import FIRE_AND_CALLBACK, Load, Plan
from ..results import Ceiling, Report, Round, Search
from ..statistics.noise import Doubled
from .budget import (
    AFTER_SECONDS,
    CELL_SECONDS,
    LEAST_PAIR_SECONDS,
    NOTHING,
    WARM_SECONDS,
    Pace,
    lane_seconds,
    round_seconds,
    spend,
    sweeps,
    windows,
)
from .ceilings import Ceilings
from .lanes import Lanes
from .measured import Measured, Times, round_of
from .pair import Pair
from .processes import START_SECONDS, ChildFailed
from .request import Job, Lane, Request, small
from .search import search
from .sweep import Sweep

# Above so many calls/s only one in so many is timed: a stamp takes more than 100 ns, and a timed call needs several.
_FAST = 100_000
_STRIDE = 16

# What part of the budget may be exceeded, by windows measured again; they have what the rounds leave of it, too.
_OVER = 0.02

# At this part of what the slowest backend can do, the rate at which response times are compared: at half of it the client would already
# be as busy as it can be. Before that is known, this rate.
_MODERATE = 0.25
_GENTLE = 2_000.0


# By the client, or "twin"; the backend; and the cell.
Values = dict[tuple[str, str, Job], Round]


class Watcher(Protocol):
    """Is told how far the run is."""

    def planned(self, rounds: int, seconds: float) -> None:
        """So many rounds there will be, and all that is left takes so many seconds."""

    def begin(self, number: int, what: str) -> None:
        """This is being done now, in that round."""

    def measured(self, cell: Measured | None = None) -> None:
        """There is one window more, of that cell if it is to be shown."""


class Experiment:
    """One run. `twins` has what was measured twice in a round."""

    def __init__(self, request: Request, report: Report, watcher: Watcher) -> None:
        self.cells: dict[tuple[str, str, Job], Measured] = {}
        self.twins: list[Doubled] = []
        self.rounds = 0
        self._request = request
        self._report = report
        self._watcher = watcher
        self._began = time.monotonic()
        self._chance = random.Random(request.seed)  # noqa: S311
        self._lanes = Lanes(request)
        self._capacity: dict[tuple[str, str, Job], float] = {}
        self._ceilings = Ceilings()
        self._sweep = Sweep(request, self._chance, self._load, self._fail)
        report.sweep = self._sweep.points
        # The mean time of a call, of the slowest backend.
        self._residence: dict[Job, float] = {}
        self._again = _OVER * request.seconds
        # Seconds, of each pair of processes until they are warm, and of all else beside windows, for each pair of a group.
        self._starts: list[float] = []
        self._rests: list[float] = []

    def run(self) -> None:
        """Measure everything; a backend that cannot be measured is one of the report's failures, and the others go on."""
        with TemporaryDirectory(prefix="ringback-compare-") as self._lanes.directory:
            self._run()

    def _run(self) -> None:
        request, watcher = self._request, self._watcher
        first = self._lanes.rehearsal()
        rehearsal = round_seconds(request, first, Pace(), 0)
        rough = spend(request, self._lanes, request.seconds - rehearsal - AFTER_SECONDS, Pace())
        a_round = round_seconds(rough.request, self._lanes.of(rough.request).round(), Pace())
        watcher.planned(rough.rounds, rehearsal + rough.rounds * a_round + AFTER_SECONDS)
        self._round(0, first)
        left = self._began + request.seconds - time.monotonic() - AFTER_SECONDS
        pace = self._pace()
        if not self._lanes.round():
            return  # none has come through the rehearsal, as the report's failures say
        plan = spend(replace(request, residence=self._residence), self._lanes, left, pace)
        self._request = self._lanes.request = plan.request
        self._note(plan.rounds)
        if not request.fixed:
            self._again += max(
                0.0, left - plan.rounds * round_seconds(plan.request, self._lanes.round(), pace)
            )
        one = round_seconds(plan.request, self._lanes.round(), pace)
        took: list[float] = []
        for number in range(1, plan.rounds + 1):
            if not request.fixed and self._late(one):
                break  # the machine became slower than it was in the rehearsal; what was found so far plays no part in this
            watcher.planned(plan.rounds, (plan.rounds + 1 - number) * one + AFTER_SECONDS)
            began = time.monotonic()
            self._round(number, self._lanes.round())
            self.rounds = number
            took.append(time.monotonic() - began)
            one = median(took)
        if not self.rounds:
            self._report.failures.append(
                f"the rehearsal took so long that no round fits into {request.seconds:g} s: give more with --time"
            )

    def _pace(self) -> Pace:
        """As in the rehearsal. Its median pair: what else runs may hold one of them up for long."""
        if not self._starts:
            return Pace()
        return Pace(max(LEAST_PAIR_SECONDS, median(self._starts) + median(self._rests)))

    def _late(self, seconds: float) -> bool:
        """Whether what takes so long would end too late."""
        return time.monotonic() - self._began + seconds + AFTER_SECONDS > (1 + _OVER) * self._request.seconds

    def ceilings(self) -> list[Ceiling]:
        """What the load generators got out of a server that does nothing."""
        return self._ceilings.all()

    def _note(self, rounds: int) -> None:
        design, here = self._report.design, self._report.environment
        design.rounds, design.dropped = rounds, list(self._request.dropped)
        design.lacking = {name: cells for name, cells in self._lanes.lacking().items() if cells}
        here.warmup, here.window = self._request.warmup, self._request.window

    def _round(self, number: int, lanes: list[Lane]) -> None:
        """All that are compared are there at once and take turns, cell by cell: the machine has no time to change between them."""
        values: Values = {}
        for group in self._lanes.groups(lanes):
            self._chance.shuffle(group)
            planned = sum(lane_seconds(self._request, lane, NOTHING, number) for lane in group)
            with ExitStack() as running:
                pairs = [
                    (lane, pair)
                    for lane in group
                    if (pair := self._started(number, lane, running)) is not None
                ]
                began = time.monotonic()
                jobs = sorted({job for lane in group for job in lane.jobs})
                self._chance.shuffle(jobs)
                for job in jobs:
                    self._turns(number, job, pairs, values)
                swept = time.monotonic()
                if sweeps(self._request, number):
                    self._sweep.run(number, self._alive(pairs), self._watcher.measured)
                swept = time.monotonic() - swept
            self._rests.append((time.monotonic() - began - planned - swept) / len(group))
        for lane in lanes:
            if lane.kind == "twin":
                self._pair_up(lane, values)

    def _started(self, number: int, lane: Lane, running: ExitStack) -> Pair | None:
        """Both processes, warm; None where they do not start, twice."""
        self._watcher.begin(number, f"{lane}: starting")
        began = time.monotonic()
        try:
            try:
                pair = self._pair(lane)
            except ChildFailed:
                pair = self._pair(lane)
            running.enter_context(pair)
            self._warm(pair, lane)
        except ChildFailed as error:
            self._fail(lane, error)
            return None
        self._starts.append(time.monotonic() - began)
        return pair

    def _fail(self, lane: Lane, error: ChildFailed) -> None:
        self._report.failures.append(f"{lane}: {error}")
        self._lanes.failed.add(lane)

    def _alive(self, pairs: list[tuple[Lane, Pair]]) -> list[tuple[Lane, Pair]]:
        return [(lane, pair) for lane, pair in pairs if lane not in self._lanes.failed]

    def _turns(self, number: int, job: Job, pairs: list[tuple[Lane, Pair]], values: Values) -> None:
        """One cell of all lanes that have it, in random order; what was disturbed, again."""
        order = [
            (lane, pair)
            for lane, pair in self._alive(pairs)
            if job in lane.jobs
            for _ in range(1 if lane.kind == "backend" else windows(self._request, lane, number))
        ]
        self._chance.shuffle(order)
        spoilt = []
        for lane, pair in order:
            self._watcher.begin(number, f"{lane}: {job.workload}, {job.style}")
            made = self._tried(number, lane, pair, job, values)
            if made is not None and (made.contaminated or not made.little.ok):
                spoilt.append((lane, pair))
        for lane, pair in spoilt if self._request.objective is None else ():  # a search has windows enough
            load = self._load(job, number, lane)
            if self._again > 0:
                self._again -= load.warmup + load.window + CELL_SECONDS
                self._tried(number, lane, pair, job, values, repeated=True)

    def _tried(
        self, number: int, lane: Lane, pair: Pair, job: Job, values: Values, *, repeated: bool = False
    ) -> Round | None:
        """The cell, or None where a process did not survive it."""
        try:
            return self._cell(number, lane, pair, job, values, repeated=repeated)
        except ChildFailed as error:
            self._fail(lane, error)
            return None

    def _pair_up(self, twin: Lane, values: Values) -> None:
        for job in twin.jobs:
            own, again = (values.get((kind, twin.backend, job)) for kind in (twin.client, "twin"))
            if own and again:
                self.twins.append(Doubled(job.workload, twin.client, job.style, own, again))

    def _pair(self, lane: Lane) -> Pair:
        request, environment = self._request, self._report.environment
        pair = Pair(
            self._lanes.server(lane),
            lambda endpoint: Plan(
                client=self._lanes.loop(lane),
                endpoint=endpoint,
                cpu_steps=environment.cpu_steps,
                # A call waits for all that are before it: 10 ms for each is far above what any of them takes.
                timeout=10.0 + request.concurrency * 0.01,
                max_callers=request.most_callers,
                peer=lane.backend if lane.kind == "peer" else "",
                scenario=request.scenario if lane.kind in ("backend", "twin") else "",
            ),
            request.placement,
            disk=request.stored and lane.kind in ("backend", "twin"),
            others=self._lanes.others(lane),
        )
        if lane.kind == "backend" and lane.backend == "twisted" and not request.scenario:
            try:
                with connect(pair.endpoint, timeout=START_SECONDS) as client:
                    environment.twisted_reactor = client.call("reactor")
            except CallError as error:
                pair.__exit__(None, None, None)
                raise ChildFailed(f"its server does not answer: {error}") from None
        return pair

    def _warm(self, pair: Pair, lane: Lane) -> None:
        """A little of everything, also for a twin that measures less: threads that a workload starts are there in all that follow."""
        jobs = self._request.jobs if lane.kind in ("backend", "twin") else lane.jobs
        for job in jobs:
            load = self._load(job, 0, lane)
            if not load.burst:
                pair.measure(load._replace(warmup=0.0, window=WARM_SECONDS))

    def _load(self, job: Job, number: int, lane: Lane) -> Load:
        load = self._request.load(job, number)
        workload = self._request.workload(job.workload)
        client = self._lanes.rival(lane)
        if workload.overload:
            peak = self._capacity.get((lane.backend, lane.client, job)) if number else None
            return load._replace(
                rate=None if peak is None else workload.overload * peak,
                timeout=None if peak is None else workload.timeout,
                peak=peak,
            )
        if load.rate is None and workload.open and not workload.burst:
            capacities = [
                found
                for (_, caller, measured), found in self._capacity.items()
                if caller == client and measured == Job("echo", FIRE_AND_CALLBACK)
            ]
            load = load._replace(rate=_MODERATE * min(capacities, default=_GENTLE / _MODERATE))
        elif not load.open and self._capacity.get((lane.backend, lane.client, job), 0.0) > _FAST:
            load = load._replace(stride=_STRIDE)
        return load

    def _cell(
        self,
        number: int,
        lane: Lane,
        pair: Pair,
        job: Job,
        values: Values,
        *,
        repeated: bool = False,
    ) -> Round | None:
        """One window, and what it was worth; None in the rehearsal, and where nothing is to be kept of it."""
        workload = self._request.workload(job.workload)
        load = self._load(job, number, lane)
        if self._request.objective is not None and number and lane.kind == "backend" and not workload.burst:
            rate = self._search(number, lane, pair, load)
            if not rate:
                return None
            load = load._replace(rate=rate)
        at = time.monotonic() - self._began
        window = pair.measure_beside(workload.idle, load) if workload.idle else pair.measure(load)
        self._watcher.measured()
        throughput = window.sample.calls / load.window
        kind = lane.kind
        if kind == "null":
            self._ceilings.add(lane.client, window)
            return None
        ceiling = self._ceilings.of(lane.client, job.style) if small(workload) and not load.open else None
        if kind == "twin":
            made = values["twin", lane.backend, job] = round_of(
                number, at, window, Times.of(window.sample.timed), ceiling, repeated=repeated
            )
            return made
        key = (lane.backend, lane.client, job)
        if key not in self.cells:
            self.cells[key] = self._lanes.measured(lane, window)
        cell = self.cells[key]
        if number == 0:
            self._capacity[key] = throughput
            cell.rehearsed(window.sample)
            if kind == "backend" and not load.open:
                # By the response time law; the times themselves are none of calls that have not ended in so short a window.
                slowest = load.concurrency * load.window / max(1, window.sample.calls)
                self._residence[job] = max(slowest, self._residence.get(job, 0.0))
            return None
        made = values[lane.client, lane.backend, job] = cell.add(
            number, at, window, ceiling, repeated=repeated
        )
        self._watcher.measured(cell)
        return made

    def _search(self, number: int, lane: Lane, pair: Pair, load: Load) -> float:
        """The highest rate that keeps the objective; 0 where none does."""
        objective = self._request.objective
        assert objective is not None
        job = Job(load.workload, load.style)
        steps = search(max(100.0, self._capacity.get((lane.backend, lane.client, job), 400.0) / 4))
        rate = next(steps)
        while True:
            self._watcher.begin(number, f"{lane}: {job.workload} {job.style} at {rate:,.0f} calls/s")
            window = pair.measure(load._replace(rate=rate))
            self._watcher.measured()
            try:
                rate = steps.send(objective.tried(window))
            except StopIteration as end:
                passes, fails, tried = end.value
                break
        self._report.searches.append(
            Search(
                lane.backend,
                lane.client,
                job.style,
                job.workload,
                number,
                str(objective),
                passes,
                fails,
                tried,
            )
        )
        return float(passes)
