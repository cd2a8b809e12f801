"""Whole experiments, small: who takes turns with whom in each round, and what is kept when something fails."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from ringback.compare.load.plan import FIRE_AND_CALLBACK, REQUEST_REPLY, STYLES, Load
from ringback.compare.results import Report
from ringback.compare.run import observe
from ringback.compare.run.environment import environment
from ringback.compare.run.measured import Measured
from ringback.compare.run.pair import Pair, Placement, Window
from ringback.compare.run.request import Job, Request
from ringback.compare.run.rounds import Experiment
from ringback.compare.run.search import Objective

UNITS = 4
SMALL = Request(
    backends=("asyncio", "threading"),
    styles=STYLES,
    workloads=("echo",),
    concurrency=4,
    rounds=1,
    fixed=True,
    units={Job("echo", style): UNITS for style in STYLES},
    seed=5,
)
ONE = replace(SMALL, backends=("threading",), styles=(REQUEST_REPLY,), units={Job("echo", REQUEST_REPLY): 1})


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


def run(request: Request, watcher: Silent | None = None) -> tuple[Experiment, Report]:
    report = Report(environment=environment(seed=5, quick=True, cpu_steps=100))
    experiment = Experiment(request, report, watcher or Silent())
    experiment.run()
    return experiment, report


def before_each_slice(monkeypatch: pytest.MonkeyPatch, do: Callable[[int, Pair], None]) -> None:
    """Have that done with the number of the round and the pair, warm-ups being of round 0."""
    measure = Pair.measure

    def measured(self: Pair, load: Load) -> Window:
        do(load.seed - SMALL.seed * 1000, self)
        return measure(self, load)

    monkeypatch.setattr(Pair, "measure", measured)


@pytest.fixture(scope="module")
def small() -> tuple[Experiment, Report, Silent]:
    watcher = Silent()
    return (*run(SMALL, watcher), watcher)


ARMS = ("asyncio, threading client", "threading, threading client")


def test_a_round_has_the_slices_of_every_arm_in_every_style(
    small: tuple[Experiment, Report, Silent],
) -> None:
    experiment, report, watcher = small
    assert report.failures == []
    assert experiment.rounds == report.design.rounds == 1
    assert report.design.units == {f"echo, {style}": UNITS for style in STYLES}
    assert {(arm, job.style) for arm, _, job in experiment.cells} == {
        (arm, style) for arm in SMALL.backends for style in STYLES
    }
    for cell in experiment.cells.values():
        result = cell.result()
        [made] = result.rounds
        assert (made.round, made.slices) == (1, 2 * UNITS)
        assert (result.errors, result.wrong) == (0, 0)
        assert result.calls == made.calls > 0
        assert result.throughput == pytest.approx(result.calls / result.seconds)
        ranks = [getattr(result.latency, name) for name in ("p50", "p90", "p99", "p999", "max")]
        assert ranks == sorted(ranks)
        assert result.server_cpu > 0
    assert sorted(watcher.shown, key=id) == sorted(experiment.cells.values(), key=id)
    assert watcher.slices == len(watcher.of(0)) + len(watcher.of(1))


def test_one_arm_is_measured_twice_in_each_round(small: tuple[Experiment, Report, Silent]) -> None:
    experiment, _, watcher = small
    names = [who for who, _ in watcher.of(1, starting=True)]
    assert {*names} > {*ARMS}
    [twin] = [who for who in names if "again" in who]
    assert twin.replace(" again", "") in ARMS
    assert {(each.workload, each.style) for each in experiment.twins} == {("echo", style) for style in STYLES}
    for each in experiment.twins:
        assert (each.own.round, each.again.round) == (1, 1)
        assert (each.own.slices, each.again.slices) == (2 * UNITS, 2 * UNITS)
        assert each.own.cpu.server_per_call != each.again.cpu.server_per_call
    assert not any("again" in who for who, _ in watcher.of(0, starting=True))


def test_in_each_unit_all_take_turns_and_again_in_the_mirrored_order(
    small: tuple[Experiment, Report, Silent],
) -> None:
    _, _, watcher = small
    slices, all_turns = watcher.of(1), 2 * 3
    assert len(slices) == len(STYLES) * UNITS * all_turns
    units = [slices[at : at + all_turns] for at in range(0, len(slices), all_turns)]
    orders, cells = set(), []
    for unit in units:
        [cell] = {what for _, what in unit}
        order = tuple(who for who, _ in unit[:3])
        assert len({*order}) == 3
        assert {who.replace(" again", "") for who in order} == {*ARMS}
        assert unit[3:] == unit[:3][::-1]
        orders.add(order)
        cells.append(cell)
    assert len(orders) > 1
    # The units of all cells are mixed.
    assert cells not in (sorted(cells), sorted(cells, reverse=True))
    assert {cell: cells.count(cell) for cell in cells} == {f"echo, {style}": UNITS for style in STYLES}


def test_the_rehearsal_has_each_cell_once(small: tuple[Experiment, Report, Silent]) -> None:
    _, _, watcher = small
    assert sorted(watcher.of(0)) == [(arm, f"echo, {style}") for arm in ARMS for style in sorted(STYLES)]


def test_one_generator_of_each_client_calls_all_servers_of_a_round(monkeypatch: pytest.MonkeyPatch) -> None:
    called: set[tuple[int, int, int]] = set()
    begun: list[int] = []
    before_each_slice(
        monkeypatch, lambda _, pair: called.add((len(begun), pair.generator.pid, pair.server.pid))
    )
    groups = Experiment._started

    def started(self: Experiment, *asked: object) -> object:
        begun.append(1)
        return groups(self, *asked)

    monkeypatch.setattr(Experiment, "_started", started)
    _, report = run(replace(SMALL, clients=("threading", "asyncio"), styles=(REQUEST_REPLY,)))
    assert report.failures == []
    generators = [{generator for at, generator, _ in called if at == number} for number in range(1, 5)]
    assert [len(each) for each in generators] == [1, 1, 1, 1]
    assert len(set.union(*generators)) == 4
    servers = [{server for at, _, server in called if at == number} for number in range(1, 5)]
    # Two of the rehearsal, two of the round, of which one has a twin beside it.
    assert [len(each) for each in servers[:2]] == [2, 2]
    assert sorted(len(each) for each in servers[2:]) == [2, 3]
    assert len(set.union(*servers)) == 9


@pytest.mark.skipif(len(observe.processors()) < 2 or not observe.LINUX, reason="nothing to choose from")
def test_servers_and_generators_have_their_own_processors_whenever_calls_are_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server, client = observe.processors()[:2]
    found: set[tuple[int, int, int]] = set()

    def look(number: int, pair: Pair) -> None:
        for end, child in enumerate((pair.server, pair.generator)):
            for task in Path(f"/proc/{child.pid}/task").iterdir():
                found.update((number, end, cpu) for cpu in os.sched_getaffinity(int(task.name)))

    before_each_slice(monkeypatch, look)
    _, report = run(replace(ONE, placement=Placement((server,), (client,))))
    assert report.failures == []
    assert found == {(number, end, cpu) for number in (0, 1) for end, cpu in enumerate((server, client))}


def test_a_run_that_ends_without_a_round_has_failed() -> None:
    experiment, report = run(replace(ONE, fixed=False, seconds=3.5))
    assert experiment.rounds == 0
    [failure] = report.failures
    assert failure.startswith("the rehearsal took so long that no round fits into 3.5 s")


def test_a_run_of_which_no_arm_starts_ends_after_the_rehearsal() -> None:
    watcher = Silent()
    experiment, report = run(replace(ONE, backends=("nosuch",), fixed=False, seconds=60.0), watcher)
    assert (experiment.rounds, len(report.failures)) == (0, 1)
    assert {number for number, _ in watcher.began} == {0}


def test_the_time_that_there_is_goes_into_units() -> None:
    watcher = Silent()
    request = replace(ONE, fixed=False, units={}, rounds=2, fewest=2, seconds=20.0)
    experiment, report = run(request, watcher)
    assert report.failures == []
    assert experiment.rounds == report.design.rounds == 2
    [units] = report.design.units.values()
    assert units > request.weight(Job("echo", REQUEST_REPLY))
    [cell] = experiment.cells.values()
    assert [made.slices for made in cell.rounds] == [2 * units, 2 * units]
    left = [seconds for _, seconds in watcher.plans[1:]]
    assert left == sorted(left, reverse=True)


def test_an_arm_that_does_not_start_is_told_and_the_others_go_on() -> None:
    experiment, report = run(replace(ONE, backends=("nosuch", "threading")))
    [failure] = report.failures
    assert failure.startswith("nosuch, threading client: its server ended with status 1")
    assert "there is no backend 'nosuch'" in failure
    assert {arm for arm, _, _ in experiment.cells} == {"threading"}
    assert experiment.rounds == 1


def test_a_server_that_does_not_start_is_tried_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    servers, tried = Experiment._servers, []

    def fails_once(self: Experiment, lane: object) -> object:
        made = servers(self, lane)
        if not tried:
            made.children[0].stop()
        tried.append(lane)
        return made

    monkeypatch.setattr(Experiment, "_servers", fails_once)
    experiment, report = run(ONE)
    assert report.failures == []
    assert len(tried) == 2 + 2  # the rehearsal with a second try, and a round with a twin
    assert experiment.rounds == 1


def test_a_server_that_dies_is_told_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    killed: list[int] = []

    def kill(number: int, pair: Pair) -> None:
        if (
            number == 2
            and pair.server.pid not in killed
            and "asyncio" in psutil.Process(pair.server.pid).cmdline()
        ):
            killed.append(pair.server.pid)
            os.kill(pair.server.pid, signal.SIGKILL)

    before_each_slice(monkeypatch, kill)
    monkeypatch.setattr("ringback.compare.run.lanes.Lanes._twins", lambda _: [])
    experiment, report = run(replace(SMALL, styles=(REQUEST_REPLY,), rounds=2))
    assert report.failures == ["asyncio, threading client: its server ended by signal 9 (Killed)"]
    assert len(killed) == 1
    job = Job("echo", REQUEST_REPLY)
    died, lived = (experiment.cells[arm, "threading", job] for arm in SMALL.backends)
    # What it measured before is kept.
    assert [made.round for made in died.rounds] == [1]
    assert [(made.round, made.slices) for made in lived.rounds] == [(1, 2 * UNITS), (2, 2 * UNITS)]
    for cell in (died, lived):
        assert (cell.result().errors, cell.result().wrong) == (0, 0)
        assert all(made.calls > 0 and made.little.ok for made in cell.rounds)


def test_the_highest_rate_that_keeps_an_objective_is_searched_in_every_round() -> None:
    request = replace(
        ONE,
        styles=(FIRE_AND_CALLBACK,),
        workloads=("io",),
        units={},
        workers=2,
        rounds=1,
        objective=Objective.parse("p99=50ms"),
    )
    experiment, report = run(request)
    [search] = report.searches
    # Two workers that wait 10 ms for each call are bound to 200 calls/s.
    assert (search.arm, search.workload, search.round) == ("threading", "io", 1)
    assert 10 < search.passes < 250
    assert search.fails is not None
    [cell] = experiment.cells.values()
    result = cell.result()
    assert result.loop == "open"
    assert result.rate is not None
    assert result.rate.offered == pytest.approx(search.passes, rel=0.4)
    assert [made.slices for made in result.rounds] == [1]
    assert experiment.twins == []


def test_an_overloaded_open_loop_is_called_that() -> None:
    request = replace(ONE, styles=(FIRE_AND_CALLBACK,), workloads=("io",), workers=2)
    request = replace(request, units={Job("io", FIRE_AND_CALLBACK): 1})
    overloaded = {}
    for rate in (50.0, 2_000.0):
        experiment, report = run(replace(request, rate=rate))
        assert report.failures == []
        [cell] = experiment.cells.values()
        overloaded[rate] = cell.result().overloaded
    assert overloaded == {50.0: False, 2_000.0: True}


def test_under_an_overload_a_server_that_learns_its_limit_refuses_what_it_cannot_do_and_does_the_rest() -> (
    None
):
    """How much that is depends on what else runs here: benchmarks tell."""
    request = replace(
        ONE,
        backends=("asyncio",),
        styles=(FIRE_AND_CALLBACK,),
        workloads=("overload",),
        concurrency=64,
        units={},
    )
    experiment, report = run(replace(request, limit="adaptive"))
    assert report.failures == []
    [cell] = experiment.cells.values()
    result = cell.result()
    assert result.rate is not None
    assert result.rate.peak is not None
    assert result.rate.offered == pytest.approx(3 * result.rate.peak, rel=0.3)
    assert not result.overloaded  # it is meant, and the calls' time bounds how long they wait
    assert result.errors_by_code.get("RESOURCE_EXHAUSTED", 0) > result.errors / 2
    assert result.calls > 0.05 * result.rate.peak * result.seconds
