"""Whole experiments, small: who takes turns with whom in each round, and what is kept when
something fails.
"""

from __future__ import annotations

import os
import signal
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import psutil
import pytest
from ringback.compare.load.plan import FIRE_AND_CALLBACK, RAW, REQUEST_REPLY, STYLES, OfferedLoad
from ringback.compare.results import Arm, Report
from ringback.compare.run import observe
from ringback.compare.run.environment import environment
from ringback.compare.run.measured import Measured
from ringback.compare.run.pair import ANYWHERE, Pair, Placement, Serving, Slice
from ringback.compare.run.processes import Child, ChildFailed
from ringback.compare.run.request import CellJob, CompareRequest
from ringback.compare.run.rounds import Experiment
from ringback.compare.run.treatments import Treatment, treatments
from samples import installation

UNITS = 3
ECHO, FIRED, FLOOD = (
    CellJob("echo", REQUEST_REPLY),
    CellJob("echo", FIRE_AND_CALLBACK),
    CellJob("flood", FIRE_AND_CALLBACK),
)
# Where there are two processors, server and client have one each.
APART = (
    Placement(*((each,) for each in observe.processors()[:2]))
    if observe.LINUX and len(observe.processors()) > 1
    else ANYWHERE
)
ONE = CompareRequest(
    backends=("threading",),
    styles=(REQUEST_REPLY,),
    workloads=("echo",),
    concurrency=4,
    rounds=1,
    fixed=True,
    units={ECHO: 1},
    seed=5,
)
SMALL = replace(
    ONE,
    backends=("asyncio", "threading"),
    clients=("threading", "asyncio"),
    styles=STYLES,
    workloads=("echo", "flood"),
    units=dict.fromkeys((ECHO, FIRED, FLOOD), UNITS),
    placement=APART,
)


class Silent:
    """A watcher who remembers what it was told."""

    def __init__(self) -> None:
        self.began: list[tuple[int, str]] = []
        self.plans: list[tuple[int, float]] = []
        self.slices = 0
        self.shown: list[Measured] = []

    def planned(self, rounds: int, seconds: float) -> None:
        self.plans.append((rounds, seconds))

    def begin(self, number: int, what: str) -> None:
        self.began.append((number, what))

    def measured(self, cell: Measured | None = None) -> None:
        self.slices += cell is None
        self.shown += [] if cell is None else [cell]

    def of(self, number: int, *, starting: bool = False) -> list[tuple[str, str]]:
        """What began in that round, in order: who, and what."""
        found = [what.rpartition(": ")[::2] for at, what in self.began if at == number]
        return [(who, what) for who, what in found if (what == "starting") is starting]


class Edge(NamedTuple):
    """Where a slice of a round began (then it has no window) or ended; those of warm-ups and of the
    calibration are of round 0.
    """

    number: int
    server: int
    generator: int
    window: Slice | None = None


class Run:
    """An experiment that has been run, and what was seen of its processes. `look` is called before
    each slice with the number of its round
    and each process, of which all that it returns is `seen`; `served` is called with each server
    that starts."""

    def __init__(
        self,
        request: CompareRequest,
        look: Callable[[int, int], Iterable[object]] = lambda _number, _pid: (),
        served: Callable[[str, Child], object] = lambda _arm, _server: None,
    ) -> None:
        self.report, self.watcher = blank(), Silent()
        self.experiment = Experiment(request, self.report, self.watcher)
        self.edges: list[Edge] = []
        self.servers: list[tuple[str, int]] = []
        self.seen: defaultdict[int, set[object]] = defaultdict(set)
        begin, end, serving = Pair.begin, Pair.end, Experiment._serving

        def edge(pair: Pair, load: OfferedLoad, window: Slice | None = None) -> None:
            number = load.seed - request.seed * 1000
            self.edges.append(Edge(number, pair.server.pid, pair.generator.pid, window))

        def begins(pair: Pair, load: OfferedLoad) -> None:
            edge(pair, load)
            for pid in (pair.server.pid, pair.generator.pid):
                self.seen[pid].update(look(self.edges[-1].number, pid))
            begin(pair, load)

        def ends(pair: Pair) -> Slice:
            window = end(pair)
            edge(pair, window.load, window)
            return window

        def serves(experiment: Experiment, treatment: Treatment) -> Serving:
            made = serving(experiment, treatment)
            self.servers.append((treatment.arm, made.pid))
            served(treatment.arm, made)
            return made

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Pair, "begin", begins)
            patch.setattr(Pair, "end", ends)
            patch.setattr(Experiment, "_serving", serves)
            self.experiment.run()

    @property
    def processes(self) -> Iterator[tuple[set[int], set[int]]]:
        """The servers and the generators of the calibration, and of the round after it."""
        later = [edge for edge in self.edges if edge.number]
        servers, generators = {edge.server for edge in later}, {edge.generator for edge in later}
        yield (
            {edge.server for edge in self.edges} - servers,
            {edge.generator for edge in self.edges} - generators,
        )
        yield servers, generators


def without_control(made: Experiment) -> list[Treatment]:
    return treatments(made._request, made._failed)


def blank() -> Report:
    return Report(environment=environment(seed=5, quick=True, cpu_steps=100))


# A round


def processors(_: int, pid: int) -> Iterator[int]:
    for task in Path(f"/proc/{pid}/task").glob("*"):
        yield from os.sched_getaffinity(int(task.name))


@pytest.fixture(scope="module")
def small() -> Run:
    return Run(SMALL, processors)


ARMS = ("asyncio", "threading")
TREATMENTS = [f"{arm}, {client} client" for arm in ARMS for client in ("threading", "asyncio", RAW)]


def test_a_round_has_the_slices_of_every_arm_with_every_client_in_every_style(small: Run) -> None:
    experiment, report, watcher = small.experiment, small.report, small.watcher
    assert report.failures == []
    assert experiment.rounds == report.design.rounds == 1
    assert report.design.units == {
        f"{job.workload}, {job.style}": UNITS for job in (ECHO, FIRED, FLOOD)
    }
    assert {*experiment.cells} == {
        (arm, client, job)
        for arm in ARMS
        for client, jobs in (
            ("threading", (ECHO, FIRED)),
            ("asyncio", (ECHO, FIRED)),
            (RAW, (FLOOD,)),
        )
        for job in jobs
    }
    for cell in experiment.cells.values():
        result = cell.result()
        [made] = result.rounds
        assert (made.round, made.slices) == (1, 2 * UNITS)
        assert (result.errors, result.wrong) == (0, 0)
        assert result.concurrency == (64 if result.client == RAW else 4)
        assert result.calls == made.calls > 0
        assert result.throughput == pytest.approx(result.calls / result.seconds)
        ranks = [getattr(result.latency, name) for name in ("p50", "p90", "p99", "p999", "max")]
        assert ranks == sorted(ranks)
        assert result.server_cpu > 0
    assert sorted(watcher.shown, key=id) == sorted(experiment.cells.values(), key=id)
    assert watcher.slices == len(watcher.of(0)) + len(watcher.of(1))


def test_one_arm_is_measured_twice_in_each_round_with_all_its_clients(small: Run) -> None:
    names = [who for who, _ in small.watcher.of(1, starting=True)]
    controls = [who for who in names if "(A/A control)" in who]
    assert sorted(names) == sorted([*TREATMENTS, *controls])
    assert {who.replace(" (A/A control)", "").partition(", ")[2] for who in controls} == {
        f"{client} client" for client in ("threading", "asyncio", RAW)
    }
    assert len({who.partition(" (A/A control)")[0] for who in controls}) == 1
    pairs = small.experiment.controls
    found = [(each.client, CellJob(each.workload, each.style)) for each in pairs]
    assert sorted(found) == sorted({(client, job) for _, client, job in small.experiment.cells})
    for each in pairs:
        assert (each.own.round, each.again.round) == (1, 1)
        assert (each.own.slices, each.again.slices) == (2 * UNITS, 2 * UNITS)
        assert each.own.cpu.server_per_call != each.again.cpu.server_per_call
    assert sorted(who for who, _ in small.watcher.of(0, starting=True)) == sorted(TREATMENTS)


def test_in_each_unit_all_take_turns_and_again_in_the_mirrored_order(small: Run) -> None:
    slices, units = small.watcher.of(1), []
    while slices:
        what = slices[0][1]
        many = (
            3 if what.startswith("flood") else 6
        )  # two arms and a control, with one client or with two
        unit, slices = slices[: 2 * many], slices[2 * many :]
        assert {each for _, each in unit} == {what}
        order = tuple(who for who, _ in unit)
        assert len({*order}) == many
        assert order[many:] == order[:many][::-1]
        units.append((what, order))
    cells = [what for what, _ in units]
    assert {what: cells.count(what) for what in cells} == small.report.design.units
    # The units of all cells are mixed, and so are the arms of a unit.
    assert cells not in (sorted(cells), sorted(cells, reverse=True))
    assert len({order for _, order in units}) > 2


def test_the_calibration_has_each_cell_once(small: Run) -> None:
    assert sorted(small.watcher.of(0)) == sorted(
        (f"{arm}, {client} client", f"{job.workload}, {job.style}")
        for arm, client, job in small.experiment.cells
    )


def test_each_arm_has_one_server_for_all_clients_and_each_client_one_generator_for_all_servers(
    small: Run,
) -> None:
    calibration, one_round = small.processes
    assert [len(each) for each in calibration] == [2, 3]
    assert [len(each) for each in one_round] == [3, 3]  # with a control
    assert len({edge[1:3] for edge in small.edges if edge.number}) == 3 * 3
    assert len(small.servers) == 2 + 3  # in each round they are fresh


@pytest.mark.skipif(APART is ANYWHERE, reason="nothing to choose from")
def test_servers_and_generators_have_their_own_processors_whenever_calls_are_made(
    small: Run,
) -> None:
    for ends in small.processes:
        for pids, only in zip(ends, APART, strict=True):
            assert [small.seen[pid] for pid in pids] == [{*only}] * len(pids)


# All at once


@pytest.fixture(scope="module")
def duet(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Of a backend and the same of another installation."""
    home = installation(tmp_path_factory.mktemp("other"))
    arm = Arm("other", "threading", python=str(home / "bin" / "python"), version="0.0.1")

    asked = replace(
        ONE, backends=("threading", "other"), arms={"other": arm}, units={ECHO: UNITS}, duet=True
    )
    return Run(asked, lambda _, pid: [psutil.Process(pid).environ().get("PYTHONPATH")])


def test_in_a_duet_all_servers_work_at_once(duet: Run) -> None:
    assert duet.report.failures == []
    assert [cell.rounds[0].slices for cell in duet.experiment.cells.values()] == [2 * UNITS] * 2
    assert len(duet.experiment.controls) == 1
    edges = [edge for edge in duet.edges if edge.number == 1]
    turns = [edges[at : at + 6] for at in range(0, len(edges), 6)]
    assert len(turns) == 2 * UNITS
    together = 0
    for turn in turns:
        windows = [edge.window for edge in turn]
        assert windows[:3] == [None] * 3
        opened = [window.sample.opened for window in windows if window]
        assert len(opened) == len({edge.server for edge in turn}) == 3
        assert len({edge.generator for edge in turn}) == 3
        together += max(opened) < min(opened) + ONE.load(ECHO, 1).window
    assert together  # whatever else runs here, not always one after another


def test_in_a_duet_no_server_works_for_two_clients_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Unmeasured(duet=True)
    turns: list[list[Treatment]] = []
    monkeypatch.setattr(
        made, "_turn", lambda *asked: turns.append([treatment for treatment, _ in asked[-1]]) or ()
    )
    pairs = [(treatment, None) for treatment in made._with_control()]
    made._unit(1, ECHO, pairs, {})
    first, second, *mirrored = turns
    clients = {frozenset(treatment.client for treatment in turn) for turn in (first, second)}
    assert clients == {frozenset({"asyncio"}), frozenset({"threading"})}
    assert [len({treatment.server for treatment in turn}) for turn in (first, second)] == [3, 3]
    assert mirrored == [second[::-1], first[::-1]]
    made._unit(0, ECHO, pairs, {})
    assert [len(turn) for turn in turns[4:]] == [
        1
    ] * 6  # a calibration tells how fast each is alone


def test_an_arm_of_another_installation_is_served_by_that_one(duet: Run) -> None:
    usual = {os.environ.get("PYTHONPATH")}
    assert {arm: duet.seen[server] == usual for arm, server in duet.servers} == {
        "threading": True,
        "other": False,
    }


# What fails


@pytest.fixture(scope="module")
def troubled() -> Run:
    """With an arm that does not start, and one of which the first server does not, and another is
    killed in the second round.
    """
    done: set[str] = set()

    def stop(arm: str, server: Child) -> None:
        if arm == "asyncio" and "stopped" not in done:
            server.stop()
            done.add("stopped")

    def kill(number: int, pid: int) -> Iterable[object]:
        if number == 2 and "killed" not in done and "asyncio" in psutil.Process(pid).cmdline():
            os.kill(pid, signal.SIGKILL)
            done.add("killed")
        return ()

    plan = Experiment._plan
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Experiment, "_with_control", without_control)
        # So long a generator waits for the answers of the one that was killed.
        patch.setattr(
            Experiment, "_plan", lambda *of: msgspec.structs.replace(plan(*of), timeout=1.0)
        )
        return Run(
            replace(ONE, backends=("nosuch", *ARMS), units={ECHO: UNITS}, rounds=2), kill, stop
        )


def test_an_arm_that_does_not_start_is_told_and_the_others_go_on(troubled: Run) -> None:
    failure = troubled.report.failures[0]
    assert failure.startswith("nosuch, threading client: its server ended with status 2")
    assert "there is no backend 'nosuch'" in failure
    assert {arm for arm, _, _ in troubled.experiment.cells} == {*ARMS}
    assert troubled.experiment.rounds == 2


def test_a_server_that_does_not_start_is_tried_once_more(troubled: Run) -> None:
    tried = Counter(arm for arm, _ in troubled.servers)
    # Once more in the calibration; and then in both rounds, but for what has failed.
    assert tried == {"nosuch": 2, "asyncio": 2 + 2, "threading": 1 + 2}


def test_a_server_that_dies_is_told_and_the_others_go_on(troubled: Run) -> None:
    assert troubled.report.failures[1:] == [
        "asyncio, threading client: its server ended by signal 9 (Killed)"
    ]
    died, lived = (troubled.experiment.cells[arm, "threading", ECHO] for arm in ARMS)
    # What it measured before is kept.
    assert [made.round for made in died.rounds] == [1]
    assert [(made.round, made.slices) for made in lived.rounds] == [(1, 2 * UNITS), (2, 2 * UNITS)]
    for cell in (died, lived):
        assert (cell.result().errors, cell.result().wrong) == (0, 0)
        assert all(made.calls > 0 and made.little.ok for made in cell.rounds)


# How the time is spent, where a round takes none


class Unmeasured(Experiment):
    """One whose rounds are empty. `units` are those of each."""

    def __init__(self, **changes: Any) -> None:
        usual = {"fixed": False, "units": {}, "rounds": 8, "seconds": 600.0}
        super().__init__(replace(SMALL, **{**usual, **changes}), blank(), Silent())
        self.units: list[Mapping[CellJob, int]] = []

    def _round(self, number: int, treatments: list[Treatment]) -> None:
        self.units += [self._request.units] if number else []


def test_a_run_that_ends_without_a_round_has_failed() -> None:
    made = Unmeasured(seconds=3.5)
    made.run()
    assert made.rounds == 0
    [failure] = made._report.failures
    assert failure.startswith("the calibration took so long that no round fits in 3.5 s")


def test_a_run_of_which_no_arm_starts_ends_after_the_calibration(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = Unmeasured()

    def no_child_starts(_: int, treatments: list[Treatment]) -> None:
        with made._failing(*treatments):
            raise ChildFailed("no")

    monkeypatch.setattr(made, "_round", no_child_starts)
    made.run()
    assert (made.rounds, len(made._report.failures)) == (0, 1)


def test_the_arm_that_is_measured_twice_changes_from_round_to_round_by_the_seed() -> None:
    made, again = Unmeasured(), Unmeasured()
    controls = [made._with_control()[-1].arm for _ in range(20)]
    assert {*controls} == {*ARMS}
    assert controls == [again._with_control()[-1].arm for _ in range(20)]


def test_the_time_that_there_is_goes_into_units() -> None:
    made = Unmeasured(rounds=2, fewest=2)
    made.run()
    design = made._report.design
    assert made.rounds == design.rounds == 2
    first, second = made.units
    assert first == second
    assert design.units == {f"{job.workload}, {job.style}": units for job, units in first.items()}
    assert all(units > made._request.workload(job.workload).units for job, units in first.items())
    left = [seconds for _, seconds in made._watcher.plans[1:]]
    assert left == sorted(left, reverse=True)


# Open loops


def test_calls_come_at_a_quarter_of_what_the_slowest_arm_does_in_the_calibration_with_that_client() -> (
    None
):
    made, rated = Unmeasured(workloads=("echo-rate",)), CellJob("echo-rate", FIRE_AND_CALLBACK)
    speeds = {
        ("asyncio", "threading"): 8e3,
        ("threading", "threading"): 4e3,
        ("threading", "asyncio"): 1e3,
    }
    made._capacity = {(*who, rated): speed for who, speed in speeds.items()}
    treatment = Treatment("asyncio", "threading", (rated,))
    assert made._load(rated, 0, treatment).rate is None
    assert [
        made._load(rated, 1, each).rate
        for each in (treatment, treatment._replace(client="asyncio"))
    ] == [
        1e3,
        250.0,
    ]
    # Another library has a client of its own.
    assert made._load(rated, 1, Treatment("pyzmq", "pyzmq", (rated,), "peer")).rate == 1e3


def test_under_an_overload_a_server_that_learns_its_limit_refuses_what_it_cannot_do_and_does_the_rest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """How much that is depends on what else runs here: benchmarks tell."""
    monkeypatch.setattr(Experiment, "_with_control", without_control)
    asked = replace(
        ONE, backends=("learns",), styles=(FIRE_AND_CALLBACK,), workloads=("overload",), units={}
    )
    arm = Arm("learns", "asyncio", ("--limit", "adaptive"))
    made = Run(replace(asked, concurrency=64, arms={"learns": arm}))
    assert made.report.failures == []
    [cell] = made.experiment.cells.values()
    result = cell.result()
    assert result.rate is not None
    assert result.rate.peak is not None
    assert result.rate.offered == pytest.approx(3 * result.rate.peak, rel=0.3)
    assert not result.overloaded  # it is meant, and the calls' time bounds how long they wait
    assert result.errors_by_code.get("RESOURCE_EXHAUSTED", 0) > result.errors / 2
    assert result.calls
