"""The experiment: each round has every treatment in fresh processes, which take turns of a few ms.

A unit is a slice of each treatment in random order, and, unless slices are long, the same in
reverse: a machine that slows down during a unit slows all of them equally. Units of all cells come
in random order. `cells` is updated during the run, so an interrupted run keeps its measurements.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from secrets import token_hex
from statistics import median
from tempfile import TemporaryDirectory
from typing import Protocol

from .. import peers
from ..load.plan import FIRE_AND_CALLBACK, LoadPlan, OfferedLoad
from ..results import Report
from ..statistics.noise import ControlPair
from .budget import (
    AFTER_SECONDS,
    LEAST_PAIR_SECONDS,
    Pace,
    a_round,
    calibration_seconds,
    round_seconds,
    spend,
)
from .measured import Measured, beside, median_time, round_of, speed
from .observe import Speeds
from .pair import Generator, Pair, Serving, Slice
from .processes import ChildFailed
from .request import CellJob, CompareRequest
from .treatments import Treatment, groups, lacking, server, treatments

# A thread that fires more calls a second than this times one in 16, as timing must not slow them.
_FAST = 5_000
_STRIDE = 16

# Seconds of warm-up of each cell before a round, which starts its threads for all later slices.
_WARM_SECONDS = 0.03

# Fraction by which a run may exceed its budget.
_OVER = 0.02

# The common rate of open loops, as a fraction of the slowest arm's capacity: at half of it the
# client would already be fully busy.
_MODERATE = 0.25

Running = list[tuple[Treatment, Pair]]
# By treatment and cell: the slices of each unit.
Slices = dict[tuple[Treatment, CellJob], list[list[Slice]]]


class Watcher(Protocol):
    """Receives the progress of the run."""

    def planned(self, rounds: int, seconds: float) -> None:
        """The run will have these rounds, and ends in about `seconds`."""

    def begin(self, number: int, what: str) -> None:
        """This work begins now, in round `number`."""

    def measured(self, cell: Measured | None = None) -> None:
        """A slice has ended, or a round of this cell, whose figures can be shown."""


class Experiment:
    """One run. `controls` has the A/A controls: cells measured twice in a round."""

    def __init__(self, request: CompareRequest, report: Report, watcher: Watcher) -> None:
        self.cells: dict[tuple[str, str, CellJob], Measured] = {}
        self.controls: list[ControlPair] = []
        self.speeds = Speeds()
        self.rounds = 0
        self._request = request
        self._report = report
        self._watcher = watcher
        self._began = time.monotonic()
        self._chance = random.Random(request.seed)  # noqa: S311
        self._failed: set[Treatment] = set()  # not tried again
        self._directory = ""  # of state stores
        # Calls/s in the calibration, by arm, client and job.
        self._capacity: dict[tuple[str, str, CellJob], float] = {}
        # Seconds: start and warm-up of each pair of processes beside others; overhead of each
        # slice.
        self._starts: list[float] = []
        self._rests: list[float] = []

    def run(self) -> None:
        """Measure everything. A treatment that fails is noted in the report; the others go on."""
        with TemporaryDirectory(prefix="ringback-compare-") as self._directory:
            self._run()

    def _run(self) -> None:
        request, watcher = self._request, self._watcher
        around = calibration_seconds(request, Pace())
        rough = spend(request, request.seconds - around, Pace())
        one = self._seconds(rough, Pace())
        watcher.planned(rough.rounds, around + rough.rounds * one)
        self._round(0, treatments(request))
        left = self._began + request.seconds - time.monotonic() - AFTER_SECONDS
        pace = self._pace()
        if not treatments(request, self._failed):
            return  # all failed in the calibration, as the report's failures say
        if (request.scenario or request.arms) and self._spoilt():
            return  # the user's scenario or arm does not work: fail now rather than after minutes
        plan = self._request = spend(request, left, pace, self._failed)
        self._note()
        one = self._seconds(plan, pace)
        took: list[float] = []
        for number in range(1, plan.rounds + 1):
            if not request.fixed and self._late(one):
                break  # the machine became slower than in the calibration; figures have no effect
            watcher.planned(plan.rounds, (plan.rounds + 1 - number) * one + AFTER_SECONDS)
            began = time.monotonic()
            self._round(number, self._with_control())
            self.rounds = number
            took.append(time.monotonic() - began)
            one = median(took)
        if not self.rounds:
            self._report.failures.append(
                f"the calibration took so long that no round fits in {request.seconds:g} s: give "
                f"more with --time"
            )

    def _spoilt(self) -> bool:
        """Whether something failed in the calibration. Errors of calls are added to the
        failures."""
        found = [(who, cell.broken) for who, cell in self.cells.items() if cell.broken]
        if found:
            (arm, client, job), why = found[0]
            others = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
            self._report.failures.append(f"{arm}, {client} client, {job.workload}: {why}{others}")
        return bool(self._report.failures)

    def _seconds(self, request: CompareRequest, pace: Pace) -> float:
        return round_seconds(request, a_round(request, self._failed), pace, request.units)

    def _pace(self) -> Pace:
        """The pace of the calibration, by medians: other programs may delay a single start."""
        if not self._starts or not self._rests:
            return Pace()
        return Pace(max(LEAST_PAIR_SECONDS, median(self._starts)), median(self._rests))

    def _late(self, seconds: float) -> bool:
        """Whether work of these seconds would end too late."""
        return (
            time.monotonic() - self._began + seconds + AFTER_SECONDS
            > (1 + _OVER) * self._request.seconds
        )

    def _note(self) -> None:
        design = self._report.design
        design.rounds, design.dropped = self._request.rounds, list(self._request.dropped)
        design.units = {
            f"{job.workload}, {job.style}": units for job, units in self._request.units.items()
        }
        design.lacking = lacking(self._request)

    def _with_control(self) -> list[Treatment]:
        """The treatments of a round, one arm of which is there twice, as A/A control."""
        ours = [
            treatment.arm
            for treatment in treatments(self._request, self._failed)
            if treatment.kind == "backend"
        ]
        return treatments(
            self._request, self._failed, control=self._chance.choice(ours) if ours else None
        )

    def _round(self, number: int, found: list[Treatment]) -> None:
        """Start the processes of each group and run its units in random order."""
        slices: Slices = {}
        began = time.monotonic()
        there = groups(found)
        self._chance.shuffle(there)
        for group in there:
            self._chance.shuffle(group)
            with ExitStack() as running:
                pairs = self._started(number, group, running)
                units = self._units(number, group)
                self._chance.shuffle(units)
                for job in units:
                    self._unit(number, job, pairs, slices)
        if number:
            self._take(number, began, slices)

    def _started(self, number: int, group: Sequence[Treatment], running: ExitStack) -> Running:
        """Start and warm up the pairs of a group; a server that does not start is tried once more.

        All processes start at the same time. Each client style has one generator, which calls all
        servers; in a duet each treatment has its own.
        """
        began = time.monotonic()
        servers: dict[tuple[str, str], Serving] = {}
        generators: dict[object, Generator] = {}
        for treatment in group:
            self._watcher.begin(number, f"{treatment}: starting")
            if treatment.server not in servers:
                servers[treatment.server] = running.enter_context(self._serving(treatment))
            if self._caller(treatment) not in generators:
                generators[self._caller(treatment)] = Generator(
                    self._plan(treatment), self._request.placement
                )
        try:
            for name in list(servers):
                served = [treatment for treatment in group if treatment.server == name]
                with self._failing(*served):
                    servers[name] = self._answering(served[0], servers[name], running)
        finally:
            # Entered last, to end first: a stopping server waits for its clients.
            for generator in generators.values():
                running.enter_context(generator)
        for caller, generator in generators.items():
            with self._failing(
                *(treatment for treatment in group if self._caller(treatment) == caller)
            ):
                generator.wait()
        pairs = [
            (treatment, Pair(servers[treatment.server], generators[self._caller(treatment)]))
            for treatment in group
            if treatment not in self._failed
        ]
        self._chance.shuffle(pairs)  # the order of their first calls
        for treatment, pair in pairs:
            with self._failing(treatment):
                self._warm(pair, treatment)
        self._starts.append((time.monotonic() - began) / len(servers))
        return pairs

    def _caller(self, treatment: Treatment) -> object:
        """Identity of its load generator."""
        return treatment if self._request.duet else treatment.client

    def _serving(self, treatment: Treatment) -> Serving:
        """Start its server, with a state store of its own: leftovers of earlier servers would make
        its store slower."""
        store = f"sqlite:///{self._directory}/{token_hex(8)}.db"
        return Serving(server(self._request, treatment, store), self._request.placement)

    def _answering(self, treatment: Treatment, serving: Serving, running: ExitStack) -> Serving:
        """Wait until the server serves; if it fails, start another one once."""
        try:
            serving.wait()
        except ChildFailed:
            serving = running.enter_context(self._serving(treatment))
            serving.wait()
        return serving

    @contextmanager
    def _failing(self, *those: Treatment) -> Iterator[None]:
        """If a child fails inside, mark these treatments as failed, and go on with the others."""
        try:
            yield
        except ChildFailed as error:
            self._report.failures.append(f"{those[0]}: {error}")
            self._failed.update(those)

    def _units(self, number: int, group: Sequence[Treatment]) -> list[CellJob]:
        """Each job, once for each of its units."""
        jobs = sorted({job for treatment in group for job in treatment.jobs})
        return [job for job in jobs for _ in range(self._request.weight(job) if number else 1)]

    def _unit(self, number: int, job: CellJob, pairs: Running, slices: Slices) -> None:
        """Measure a slice of each treatment that has the job, in random order, or in a duet of all
        at once; then, except in the calibration, the same in reverse."""
        order = [
            (treatment, pair)
            for treatment, pair in pairs
            if job in treatment.jobs and treatment not in self._failed
        ]
        self._chance.shuffle(order)
        if number:
            self.speeds.probe()
        turns = [[each] for each in order]
        if number and self._request.duet:
            # One client style at a time: a server's CPU time must be caused by one client.
            clients = dict.fromkeys(treatment.client for treatment, _ in order)
            turns = [[each for each in order if each[0].client == client] for client in clients]
        if number and not self._request.load(job, number).long:
            turns += [turn[::-1] for turn in turns[::-1]]
        for treatment, _ in order:
            slices.setdefault((treatment, job), []).append([])
        for turn in turns:
            for treatment, window in self._turn(number, job, turn):
                slices[treatment, job][-1].append(window)

    def _turn(self, number: int, job: CellJob, turn: Running) -> Iterator[tuple[Treatment, Slice]]:
        """Measure a slice of one treatment, or of several at once."""
        there = [(treatment, pair) for treatment, pair in turn if treatment not in self._failed]
        if not there:
            return
        who = str(there[0][0]) if len(there) == 1 else "all at once"
        self._watcher.begin(number, f"{who}: {job.workload}, {job.style}")
        began, begun = time.monotonic(), []
        for treatment, pair in there:
            with self._failing(treatment):
                pair.begin(self._load(job, number, treatment))
                begun.append((treatment, pair))
        for treatment, pair in begun:
            with self._failing(treatment):
                window = pair.end()
                if number == 0:
                    self._rests.append(max(0.0, time.monotonic() - began - window.load.window))
                    self._capacity[treatment.arm, treatment.client, job] = speed(window)
                    self._cell(treatment, job, window).count_errors(window.sample)
                yield treatment, window
        self._watcher.measured()

    def _cell(self, treatment: Treatment, job: CellJob, window: Slice) -> Measured:
        """The cell of the treatment, created on first use."""
        key = (treatment.arm, treatment.client, job)
        if key not in self.cells:
            backend = self._request.arm(treatment.arm).backend
            difference = peers.load(treatment.arm).DIFFERENCE if treatment.kind == "peer" else ""
            self.cells[key] = Measured(
                treatment.arm,
                treatment.client,
                window.load,
                self._request.serving,
                backend,
                difference,
            )
        return self.cells[key]

    def _take(self, number: int, began: float, slices: Slices) -> None:
        """Compute the round of each cell. The rounds of an A/A control go to `controls`."""
        together: dict[tuple[bool, str, CellJob], dict[Treatment, list[list[Slice]]]] = {}
        for (treatment, job), units in slices.items():
            if treatment not in self._failed and any(units):
                together.setdefault((treatment.kind == "peer", treatment.client, job), {})[
                    treatment
                ] = units
        made = {}
        for (_, _, job), beside_each_other in together.items():
            turns = [
                {
                    treatment: units[place]
                    for treatment, units in beside_each_other.items()
                    if place < len(units)
                }
                for place in range(max(map(len, beside_each_other.values())))
            ]
            lone = self._request.load(job, number).concurrency == 1
            speeds = _beside(speed, turns)
            times = _beside(median_time, turns) if lone else {}
            for treatment, units in beside_each_other.items():
                windows = [window for unit in units for window in unit]
                figures = round_of(
                    number,
                    began - self._began,
                    windows,
                    throughput=speeds.get(treatment),
                    p50=times.get(treatment),
                )
                made[treatment, job] = windows, figures
        for (treatment, job), (windows, figures) in made.items():
            if treatment.kind == "control":
                own = made.get((treatment._replace(kind="backend"), job))
                if own is not None:
                    self.controls.append(
                        ControlPair(job.workload, treatment.client, job.style, own[1], figures)
                    )
                continue
            cell = self._cell(treatment, job, windows[0])
            cell.add(figures, windows)
            self._watcher.measured(cell)

    def _plan(self, treatment: Treatment) -> LoadPlan:
        request = self._request
        return LoadPlan(
            client=peers.load(treatment.arm).LOOP if treatment.kind == "peer" else treatment.client,
            cpu_steps=self._report.environment.cpu_steps,
            # A call waits for all calls before it: 10 ms for each is far more than any takes.
            timeout=10.0 + request.most_callers * 0.01,
            max_callers=request.most_callers,
            connections=request.connections,
            peer=treatment.arm if treatment.kind == "peer" else "",
            scenario="" if treatment.kind == "peer" else request.scenario,
        )

    def _warm(self, pair: Pair, treatment: Treatment) -> None:
        """Call each job for a moment."""
        for job in treatment.jobs:
            pair.measure(self._load(job, 0, treatment)._replace(window=_WARM_SECONDS))

    def _load(self, job: CellJob, number: int, treatment: Treatment) -> OfferedLoad:
        """The load of a slice. For an open loop without --rate, the calibration is a closed loop,
        which finds the capacities that its rate depends on."""
        load = self._request.load(job, number)
        workload = self._request.workload(job.workload)
        own = self._capacity.get((treatment.arm, treatment.client, job), 0.0)
        if number and workload.overload:
            return load._replace(rate=workload.overload * own, timeout=workload.timeout, peak=own)
        if number and workload.open and load.rate is None:
            client = self._request.clients[0] if treatment.kind == "peer" else treatment.client
            capacities = [
                found for (_, *cell), found in self._capacity.items() if cell == [client, job]
            ]
            return load._replace(rate=_MODERATE * min(capacities, default=own))
        fired = not load.open and load.style == FIRE_AND_CALLBACK
        if fired and own > _FAST:
            load = load._replace(stride=_STRIDE)
        return load


def _beside(
    figure: Callable[[Slice], float], turns: Sequence[Mapping[Treatment, list[Slice]]]
) -> dict[Treatment, float]:
    return beside(
        [
            {treatment: list(map(figure, windows)) for treatment, windows in turn.items()}
            for turn in turns
        ]
    )
