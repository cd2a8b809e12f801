"""Whole experiments, small: what is measured in each round, what is kept when something fails, what is done again."""

from __future__ import annotations

import os
import signal
from dataclasses import replace

import pytest
from ringback.compare.load.plan import FIRE_AND_CALLBACK, REQUEST_REPLY, STYLES, Load
from ringback.compare.results import Report
from ringback.compare.run.environment import environment
from ringback.compare.run.measured import Measured
from ringback.compare.run.observe import Observed
from ringback.compare.run.pair import Pair, Window
from ringback.compare.run.request import Request
from ringback.compare.run.rounds import Experiment
from ringback.compare.run.search import Objective

SMALL = Request(
    backends=("asyncio", "threading"),
    styles=STYLES,
    workloads=("echo",),
    concurrency=4,
    rounds=1,
    fixed=True,
    warmup=0.02,
    window=0.06,
    sweep=(1, 2, 4, 8),
    seed=5,
)


class Silent:
    """A watcher who remembers what it was told."""

    def __init__(self) -> None:
        self.began: list[tuple[int, str]] = []
        self.plans: list[tuple[int, float]] = []
        self.windows = 0

    def planned(self, rounds: int, seconds: float) -> None:
        self.plans.append((rounds, seconds))

    def begin(self, number: int, what: str) -> None:
        self.began.append((number, what))

    def measured(self, cell: Measured | None = None) -> None:
        self.windows += 1


def empty() -> Report:
    return Report(environment=environment(seed=5, quick=True, warmup=0.0, window=0.0, cpu_steps=100))


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here depends on code that has run warm."""
    monkeypatch.setattr("ringback.compare.run.sweep.SWEEP_WINDOW", 0.03)


def run(request: Request, watcher: Silent | None = None) -> tuple[Experiment, Report]:
    report = empty()
    experiment = Experiment(request, report, watcher or Silent())
    experiment.run()
    return experiment, report


def test_a_round_measures_every_backend_once_in_an_order_of_chance() -> None:
    watcher = Silent()
    experiment, report = run(SMALL, watcher)
    assert report.failures == []
    assert experiment.rounds == 1
    assert {(backend, job.style) for backend, _, job in experiment.cells} == {
        (backend, style) for backend in SMALL.backends for style in STYLES
    }
    for cell in experiment.cells.values():
        result = cell.result()
        assert [made.round for made in result.rounds] == [1]
        assert (result.errors, result.wrong) == (0, 0)
        assert result.calls == sum(made.calls for made in result.good or result.rounds) > 0
        assert result.throughput == pytest.approx(result.calls / result.seconds)
        ranks = [getattr(result.latency, name) for name in ("p50", "p90", "p99", "p999", "max")]
        assert ranks == sorted(ranks)
        assert result.cpu.server_per_call is None or result.cpu.server_per_call > 0
    lanes = [
        what.removesuffix(": starting")
        for at, what in watcher.began
        if at == 1 and what.endswith(": starting")
    ]
    assert {what for what in lanes if "again" not in what} == {
        "asyncio, threading client",
        "threading, threading client",
    }
    assert len(lanes) == 3
    assert [(twin.workload, twin.style, twin.own.round, twin.again.round) for twin in experiment.twins] == [
        ("echo", style, 1, 1) for style in STYLES
    ]
    for twin in experiment.twins:
        assert twin.own.cpu.server_per_call != twin.again.cpu.server_per_call
    assert {point.concurrency for point in report.sweep} == {1, 2, 4, 8}
    assert {ceiling.style for ceiling in experiment.ceilings()} == set(STYLES)
    assert {len(ceiling.rounds) for ceiling in experiment.ceilings()} == {3}


def test_a_run_that_ends_without_a_round_has_failed() -> None:
    request = replace(SMALL, backends=("threading",), sweep=(), fixed=False, seconds=3.5)
    experiment, report = run(request)
    assert experiment.rounds == 0
    [failure] = report.failures
    assert failure.startswith("the rehearsal took so long that no round fits into 3.5 s")


def test_a_run_of_which_no_backend_starts_ends_after_the_rehearsal() -> None:
    watcher = Silent()
    experiment, report = run(
        replace(SMALL, backends=("nosuch",), sweep=(), fixed=False, seconds=60.0), watcher
    )
    assert (experiment.rounds, len(report.failures)) == (0, 1)
    assert {number for number, _ in watcher.began} == {0}


def test_windows_grow_with_the_time_that_calls_take() -> None:
    request = replace(SMALL, backends=("threading",), styles=(REQUEST_REPLY,), workloads=("io",), sweep=())
    experiment, _ = run(replace(request, concurrency=40, workers=2))
    [cell] = experiment.cells.values()
    # Forty callers of two workers that take 10 ms: a call takes 200 ms.
    assert cell.load.window == pytest.approx(10 * 0.2, rel=0.4)


def test_a_backend_that_does_not_start_is_told_and_the_others_go_on() -> None:
    experiment, report = run(replace(SMALL, backends=("nosuch", "threading"), sweep=()))
    [failure] = report.failures
    assert failure.startswith("nosuch, threading client: its server ended with status 1")
    assert "there is no backend 'nosuch'" in failure
    assert {backend for backend, _, _ in experiment.cells} == {"threading"}


def test_a_backend_that_dies_is_told_and_what_it_measured_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    measure, measured = Pair.measure, []

    def kills_the_second_round(self: Pair, load: Load) -> Window:
        measured.append(load)
        if load.seed == SMALL.seed * 1000 + 2:
            os.kill(self.server.pid, signal.SIGKILL)
        return measure(self, load)

    monkeypatch.setattr(Pair, "measure", kills_the_second_round)
    request = replace(SMALL, backends=("asyncio",), styles=(REQUEST_REPLY,), sweep=(), rounds=2)
    experiment, report = run(request)
    assert "asyncio, threading client: its server ended by signal 9 (Killed)" in report.failures
    [cell] = experiment.cells.values()
    assert [made.round for made in cell.rounds] == [1]


def test_a_disturbed_window_is_measured_again_once(monkeypatch: pytest.MonkeyPatch) -> None:
    measure, disturbed = Pair.measure, []

    def spoils_the_first(self: Pair, load: Load) -> Window:
        window = measure(self, load)
        if load.seed == SMALL.seed * 1000 + 1 and load.style not in disturbed:
            disturbed.append(load.style)
            seen: Observed = window.observed._replace(contaminated="something else ran", limit="machine")
            return window._replace(observed=seen)
        return window

    monkeypatch.setattr(Pair, "measure", spoils_the_first)
    monkeypatch.setattr("ringback.compare.run.lanes.Lanes._twins", lambda _: [])
    monkeypatch.setattr("ringback.compare.run.lanes.Lanes._nulls", lambda _: [])
    request = replace(SMALL, backends=("asyncio",), sweep=())
    experiment, _ = run(request)
    rounds = [made for cell in experiment.cells.values() for made in cell.rounds]
    assert [made.repeated for made in rounds] == [True, True]
    assert [made.contaminated for made in rounds if made.contaminated == "something else ran"] == []


def test_the_highest_rate_that_keeps_an_objective_is_searched_in_every_round() -> None:
    request = replace(
        SMALL,
        backends=("threading",),
        styles=(FIRE_AND_CALLBACK,),
        workloads=("io",),
        workers=2,
        rounds=1,
        objective=Objective.parse("p99=50ms"),
        sweep=(),
        window=0.3,
    )
    experiment, report = run(request)
    [search] = report.searches
    # Two workers that wait 10 ms for each call are bound to 200 calls/s.
    assert 10 < search.passes < 250
    assert search.fails is not None
    [cell] = experiment.cells.values()
    result = cell.result()
    assert result.loop == "open"
    assert result.rate is not None
    assert result.rate.offered == pytest.approx(search.passes, rel=0.4)


def test_an_overloaded_open_loop_is_called_that() -> None:
    request = replace(
        SMALL, backends=("threading",), styles=(FIRE_AND_CALLBACK,), workloads=("io",), workers=2, rounds=1
    )
    _, calm = run(replace(request, rate=50.0, sweep=()))
    experiment, _ = run(replace(request, rate=2_000.0, sweep=()))
    [cell] = experiment.cells.values()
    assert cell.result().overloaded
    assert calm.failures == []


def test_under_an_overload_a_server_that_learns_its_limit_refuses_what_it_cannot_do_and_does_the_rest() -> (
    None
):
    """How much that is depends on what else runs here: benchmarks tell."""
    request = replace(
        SMALL,
        backends=("asyncio",),
        styles=(FIRE_AND_CALLBACK,),
        workloads=("overload",),
        concurrency=64,
        sweep=(),
    )
    experiment, report = run(replace(request, limit="adaptive", rounds=2))
    assert report.failures == []
    [cell] = experiment.cells.values()
    result = cell.result()
    assert result.rate is not None
    assert result.rate.peak is not None
    assert result.rate.offered == pytest.approx(3 * result.rate.peak, rel=0.3)
    assert not result.overloaded  # it is meant, and the calls' time bounds how long they wait
    assert result.errors_by_code.get("RESOURCE_EXHAUSTED", 0) > result.errors / 2
    assert result.calls > 0.05 * result.rate.peak * result.seconds
