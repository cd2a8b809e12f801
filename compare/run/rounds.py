"""The experiment: in each round every arm once, in fresh server and client processes, which take turns of a few milliseconds.

A unit is a slice of each arm in random order, and, unless slices are long, the same mirrored, so that a machine that becomes slower
meanwhile does so for all. Units of all cells come in random order. What is measured is in `cells` as it comes, so that an interrupted run
keeps it.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from statistics import median
from tempfile import TemporaryDirectory
from typing import Protocol

from ...clients.threading import connect
from ...errors import CallError
from ..load.plan import FIRE_AND_CALLBACK, Load, Plan
from ..results import Report, Search
from ..statistics.noise import Doubled
from .budget import AFTER_SECONDS, LEAST_PAIR_SECONDS, Pace, Spending, moved, round_seconds, spend
from .lanes import CAPACITY, Lanes
from .measured import Measured, beside, median_time, round_of, speed
from .observe import Speeds
from .pair import Generator, Pair, Servers, Window
from .processes import START_SECONDS, ChildFailed
from .request import Job, Lane, Request
from .search import search

# Where one thread fires more calls a second than this, it times one in 16: what that takes is no part of a call.
_FAST = 5_000
_STRIDE = 16

# Seconds of each cell before a round, so that threads that it starts are there in all that follow.
_WARM_SECONDS = 0.03

# The round after which units move to where intervals are wide, and the half-width of all intervals at which a run ends early.
_LOOK = 3
_NARROW = 0.025

# What part of the budget may be exceeded.
_OVER = 0.02

# At this part of what the slowest arm can do, the rate at which response times are compared: at half of it the client would already
# be as busy as it can be. Before that is known, this rate.
_MODERATE = 0.25
_GENTLE = 2_000.0

Cells = Mapping[tuple[str, str, Job], Measured]
Widths = Callable[[Cells], Mapping[Job, float]]
Running = list[tuple[Lane, Pair]]
# Of a lane and a cell, the slices of each unit.
Slices = dict[tuple[Lane, Job], list[list[Window]]]


class Watcher(Protocol):
    """Is told how far the run is."""

    def planned(self, rounds: int, seconds: float) -> None:
        """So many rounds there will be, and all that is left takes so many seconds."""

    def begin(self, number: int, what: str) -> None:
        """This is being done now, in that round."""

    def measured(self, cell: Measured | None = None) -> None:
        """There is one slice more, or a round of that cell, which is to be shown."""


class Experiment:
    """One run. `twins` has what was measured twice in a round. `widths` tells the half-widths of intervals so far, by cell."""

    def __init__(self, request: Request, report: Report, watcher: Watcher, widths: Widths) -> None:
        self.cells: dict[tuple[str, str, Job], Measured] = {}
        self.twins: list[Doubled] = []
        self.speeds = Speeds()
        self.rounds = 0
        self._request = request
        self._report = report
        self._watcher = watcher
        self._widths = widths
        self._began = time.monotonic()
        self._chance = random.Random(request.seed)  # noqa: S311
        self._lanes = Lanes(request)
        self._capacity: dict[tuple[str, str, Job], float] = {}
        # Seconds, of each pair of processes beside others until it is warm; and of each slice beside the calls' own.
        self._starts: list[float] = []
        self._rests: list[float] = []

    def run(self) -> None:
        """Measure everything; an arm that cannot be measured is one of the report's failures, and the others go on."""
        with TemporaryDirectory(prefix="ringback-compare-") as self._lanes.directory:
            self._run()

    def _run(self) -> None:
        request, watcher = self._request, self._watcher
        first = self._lanes.rehearsal()
        rehearsal = round_seconds(request, first, Pace(), {}, 0)
        rough = spend(request, self._lanes, request.seconds - rehearsal - AFTER_SECONDS, Pace())
        one = self._seconds(rough.request, Pace())
        watcher.planned(rough.rounds, rehearsal + rough.rounds * one + AFTER_SECONDS)
        self._round(0, first)
        left = self._began + request.seconds - time.monotonic() - AFTER_SECONDS
        pace = self._pace()
        if not self._lanes.round():
            return  # none has come through the rehearsal, as the report's failures say
        if (request.scenario or request.arms) and self._spoilt():
            return  # what a person wrote does not work: nobody should wait for minutes to be told
        plan = spend(request, self._lanes, left, pace)
        self._request = self._lanes.request = plan.request
        self._note(plan.rounds)
        one = self._seconds(plan.request, pace)
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
            if self._done(number, plan, pace):
                break
        if not self.rounds:
            self._report.failures.append(
                f"the rehearsal took so long that no round fits into {request.seconds:g} s: give more with --time"
            )

    def _done(self, number: int, plan: Spending, pace: Pace) -> bool:
        """Whether all intervals are narrow after that round. Where they are not, once, let those have more that are widest."""
        if (
            self._request.fixed
            or number not in range(_LOOK, plan.rounds)
            or self._request.objective is not None
        ):
            return False
        widths = self._widths(self.cells)
        if not widths:
            return False
        if number == _LOOK:
            units = moved(self._request, self._lanes.round(), pace, widths)
            self._request = self._lanes.request = replace(self._request, units=units)
            self._note(plan.rounds)
        return number >= plan.request.fewest and max(widths.values()) <= _NARROW

    def _spoilt(self) -> bool:
        """Whether something went wrong in the rehearsal; what calls did is added to the failures."""
        found = [(who, cell.broken) for who, cell in self.cells.items() if cell.broken]
        if found:
            (arm, client, job), why = found[0]
            others = f" (so with {len(found) - 1} more)" if len(found) > 1 else ""
            self._report.failures.append(f"{arm}, {client} client, {job.workload}: {why}{others}")
        return bool(self._report.failures)

    def _seconds(self, request: Request, pace: Pace) -> float:
        return round_seconds(request, self._lanes.of(request).round(), pace, request.units)

    def _pace(self) -> Pace:
        """As in the rehearsal. Its medians: what else runs may hold one of them up for long."""
        if not self._starts or not self._rests:
            return Pace()
        return Pace(max(LEAST_PAIR_SECONDS, median(self._starts)), median(self._rests))

    def _late(self, seconds: float) -> bool:
        """Whether what takes so long would end too late."""
        return time.monotonic() - self._began + seconds + AFTER_SECONDS > (1 + _OVER) * self._request.seconds

    def _note(self, rounds: int) -> None:
        design = self._report.design
        design.rounds, design.dropped = rounds, list(self._request.dropped)
        design.units = {f"{job.workload}, {job.style}": units for job, units in self._request.units.items()}
        design.lacking = {name: cells for name, cells in self._lanes.lacking().items() if cells}

    def _round(self, number: int, lanes: list[Lane]) -> None:
        """All that are compared are there at once, and take turns."""
        slices: Slices = {}
        began = time.monotonic()
        for group in self._lanes.groups(lanes):
            self._chance.shuffle(group)
            with ExitStack() as running:
                pairs = self._started(number, group, running)
                units = self._units(number, group)
                self._chance.shuffle(units)
                for job in units:
                    self._unit(number, job, pairs, slices)
        if number:
            self._take(number, began, slices)

    def _started(self, number: int, group: Sequence[Lane], running: ExitStack) -> Running:
        """Those whose servers start, twice tried, and are warm. All processes start beside each other; each client has one generator, which
        calls all servers, but in a duet, where each server has its own."""
        began = time.monotonic()
        servers: dict[tuple[str, str], Servers] = {}
        generators: dict[object, Generator] = {}
        for lane in group:
            self._watcher.begin(number, f"{lane}: starting")
            if lane.server not in servers:
                servers[lane.server] = running.enter_context(self._servers(lane))
            if self._caller(lane) not in generators:
                generators[self._caller(lane)] = Generator(self._plan(lane), self._request.placement)
        try:
            for server in list(servers):
                lanes = [lane for lane in group if lane.server == server]
                with self._failing(*lanes):
                    servers[server] = self._answering(lanes[0], servers[server], running)
        finally:
            # Last, to be ended first: a server that is told to end waits for its clients.
            for generator in generators.values():
                running.enter_context(generator)
        for caller, generator in generators.items():
            with self._failing(*(lane for lane in group if self._caller(lane) == caller)):
                generator.wait()
        pairs = [
            (lane, Pair(servers[lane.server], generators[self._caller(lane)], self._request.placement))
            for lane in group
            if lane not in self._lanes.failed
        ]
        self._chance.shuffle(pairs)  # in this order they are called first
        for lane, pair in pairs:
            with self._failing(lane):
                self._warm(pair, lane)
        self._starts.append((time.monotonic() - began) / len(servers))
        return pairs

    def _caller(self, lane: Lane) -> object:
        """Tells its generator from others."""
        return lane if self._request.duet else lane.client

    def _servers(self, lane: Lane) -> Servers:
        return Servers(self._lanes.server(lane), self._request.placement, self._lanes.others(lane))

    def _answering(self, lane: Lane, servers: Servers, running: ExitStack) -> Servers:
        """Once they answer, if need be others of the kind."""
        try:
            servers.wait()
        except ChildFailed:
            servers = running.enter_context(self._servers(lane))
            servers.wait()
        if (
            lane.kind == "backend"
            and self._request.arm(lane.backend).backend == "twisted"
            and not self._request.scenario
        ):
            try:
                with connect(servers.endpoints[0], timeout=START_SECONDS) as client:
                    self._report.environment.twisted_reactor = client.call("reactor")
            except CallError as error:
                raise ChildFailed(f"its server does not answer: {error}") from None
        return servers

    @contextmanager
    def _failing(self, *lanes: Lane) -> Iterator[None]:
        """Where a child fails meanwhile, these lanes have failed, and the others go on."""
        try:
            yield
        except ChildFailed as error:
            self._report.failures.append(f"{lanes[0]}: {error}")
            self._lanes.failed.update(lanes)

    def _units(self, number: int, group: Sequence[Lane]) -> list[Job]:
        """Each cell as often as it has units."""
        jobs = sorted({job for lane in group for job in lane.jobs})
        once = not number or self._request.objective is not None
        return [job for job in jobs for _ in range(1 if once else self._request.weight(job))]

    def _unit(self, number: int, job: Job, pairs: Running, slices: Slices) -> None:
        """A slice of each that has the cell, in random order, or of all at once; and, but for a rehearsal, the same mirrored."""
        order = [(lane, pair) for lane, pair in pairs if job in lane.jobs and lane not in self._lanes.failed]
        self._chance.shuffle(order)
        if number:
            self.speeds.look()
        turns = [[each] for each in order]
        if number and self._request.duet:  # the clients of a server in turn: what it uses is one's own
            clients = dict.fromkeys(lane.client for lane, _ in order)
            turns = [[each for each in order if each[0].client == client] for client in clients]
        if number and self._request.objective is None and not self._request.load(job, number).long:
            turns += [turn[::-1] for turn in turns[::-1]]
        for lane, _ in order:
            slices.setdefault((lane, job), []).append([])
        for turn in turns:
            for lane, window in self._turn(number, job, turn):
                slices[lane, job][-1].append(window)

    def _turn(self, number: int, job: Job, turn: Running) -> Iterator[tuple[Lane, Window]]:
        """A slice of one, or of several at once."""
        there = [(lane, pair) for lane, pair in turn if lane not in self._lanes.failed]
        if len(there) > 1:
            self._watcher.begin(number, f"all at once: {job.workload}, {job.style}")
            begun = []
            for lane, pair in there:
                with self._failing(lane):
                    pair.begin(self._load(job, number, lane))
                    begun.append((lane, pair))
            for lane, pair in begun:
                with self._failing(lane):
                    yield lane, pair.end()
            self._watcher.measured()
            return
        for lane, pair in there:
            with self._failing(lane):
                window = self._slice(number, lane, pair, job)
                if window is not None:
                    yield lane, window

    def _slice(self, number: int, lane: Lane, pair: Pair, job: Job) -> Window | None:
        """One slice; None where no rate keeps the objective."""
        self._watcher.begin(number, f"{lane}: {job.workload}, {job.style}")
        workload = self._request.workload(job.workload)
        load = self._load(job, number, lane)
        if self._request.objective is not None and number and lane.kind == "backend" and not workload.burst:
            rate = self._search(number, lane, pair, load)
            if not rate:
                return None
            load = load._replace(rate=rate)
        began = time.monotonic()
        window = pair.measure_beside(workload.idle, load) if workload.idle else pair.measure(load)
        self._watcher.measured()
        if not workload.idle:
            self._rests.append(max(0.0, time.monotonic() - began - load.warmup - load.window))
        if number == 0:
            self._rehearsed(lane, job, window)
        return window

    def _rehearsed(self, lane: Lane, job: Job, window: Window) -> None:
        key = (lane.backend, lane.client, job)
        self._capacity[key] = speed(window)
        if key not in self.cells:
            self.cells[key] = self._lanes.measured(lane, window)
        self.cells[key].rehearsed(window.sample)

    def _take(self, number: int, began: float, slices: Slices) -> None:
        """Make a round of what each lane has in each cell, and one more of what was measured twice."""
        together: dict[tuple[bool, str, Job], dict[Lane, list[list[Window]]]] = {}
        for (lane, job), units in slices.items():
            if lane not in self._lanes.failed and any(units):
                together.setdefault((lane.kind == "peer", lane.client, job), {})[lane] = units
        made = {}
        for (_, _, job), lanes in together.items():
            turns = [
                {lane: units[place] for lane, units in lanes.items() if place < len(units)}
                for place in range(max(map(len, lanes.values())))
            ]
            lone = self._request.load(job, number).concurrency == 1
            speeds = _beside(speed, turns)
            times = _beside(median_time, turns) if lone else {}
            for lane, units in lanes.items():
                windows = [window for unit in units for window in unit]
                figures = round_of(
                    number,
                    began - self._began,
                    windows,
                    throughput=speeds.get(lane),
                    p50=times.get(lane),
                )
                made[lane, job] = windows, figures
        for (lane, job), (windows, figures) in made.items():
            key = (lane.backend, lane.client, job)
            if lane.kind == "twin":
                own = made.get((lane._replace(kind="backend"), job))
                if own is not None:
                    self.twins.append(Doubled(job.workload, lane.client, job.style, own[1], figures))
                continue
            if key not in self.cells:
                self.cells[key] = self._lanes.measured(lane, windows[0])
            self.cells[key].add(figures, windows)
            self._watcher.measured(self.cells[key])

    def _plan(self, lane: Lane) -> Plan:
        request = self._request
        return Plan(
            client=self._lanes.loop(lane),
            cpu_steps=self._report.environment.cpu_steps,
            # A call waits for all that are before it: 10 ms for each is far above what any of them takes.
            timeout=10.0 + request.most_callers * 0.01,
            max_callers=request.most_callers,
            connections=request.connections,
            peer=lane.backend if lane.kind == "peer" else "",
            scenario=request.scenario if lane.kind in ("backend", "twin") else "",
        )

    def _warm(self, pair: Pair, lane: Lane) -> None:
        """A little of everything."""
        for job in lane.jobs:
            load = self._load(job, 0, lane)
            if not load.burst:
                pair.measure(load._replace(window=_WARM_SECONDS))

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
                if caller == client and measured == CAPACITY
            ]
            load = load._replace(rate=_MODERATE * min(capacities, default=_GENTLE / _MODERATE))
        fired = not load.open and load.style == FIRE_AND_CALLBACK
        if fired and self._capacity.get((lane.backend, lane.client, job), 0.0) > _FAST:
            load = load._replace(stride=_STRIDE)
        return load

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


def _beside(
    figure: Callable[[Window], float], turns: Sequence[Mapping[Lane, list[Window]]]
) -> dict[Lane, float]:
    return beside([{lane: list(map(figure, windows)) for lane, windows in turn.items()} for turn in turns])
