"""What is decided before anything is measured, or without measuring: rounds for a budget, lanes of a round, a search's next rate."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ringback.compare.load.plan import FIRE_AND_CALLBACK, STYLES
from ringback.compare.options import BACKENDS, FEWEST, Options
from ringback.compare.results import Step
from ringback.compare.run.budget import AFTER_SECONDS, Pace, round_seconds, spend, windows
from ringback.compare.run.lanes import Lanes
from ringback.compare.run.request import Job, Lane, Request
from ringback.compare.run.search import Objective, Tried, search
from ringback.compare.workloads.table import CORE
from ringback.errors import UsageError

REQUEST = Request(("asyncio", "gevent"), ("threading",), STYLES, CORE, seed=1)


def lanes(request: Request) -> list[Lane]:
    return Lanes(request).round()


@given(st.floats(1, 1000))
def test_rounds_fit_the_time_that_there_is(seconds: float) -> None:
    spent = spend(REQUEST, Lanes(REQUEST), seconds, Pace())
    assert spent.rounds <= REQUEST.rounds
    assert spent.rounds >= FEWEST or spent.request.workloads == CORE[:1]
    assert spent.rounds * round_seconds(spent.request, lanes(spent.request), Pace()) <= seconds
    assert (*spent.request.workloads, *spent.request.dropped) == CORE


def test_more_time_never_means_less() -> None:
    spent = [spend(REQUEST, Lanes(REQUEST), seconds, Pace()) for seconds in range(1, 200)]
    measured = [(len(each.request.workloads), each.rounds) for each in spent]
    assert [many for many, _ in measured] == sorted(many for many, _ in measured)
    assert measured[0] == (1, 0)
    assert measured[-1] == (len(CORE), REQUEST.rounds)


def test_what_was_asked_for_is_measured_whatever_it_takes() -> None:
    asked = replace(REQUEST, rounds=30, fixed=True)
    assert spend(asked, Lanes(asked), 1.0, Pace()) == (asked, 30)


# A call of cpu waits for those of 63 others.
SLOW = {Job("cpu", style): 0.064 for style in STYLES}


def test_windows_hold_thirty_times_the_mean_response_where_there_is_time_for_many_rounds() -> None:
    asked = replace(REQUEST, residence=SLOW, rounds=100)
    spent = [spend(asked, Lanes(asked), seconds, Pace()) for seconds in (100.0, 200.0, 2000.0)]
    found = [each.request.load(Job("cpu", STYLES[0]), 1).window for each in spent]
    assert found == sorted(found)
    assert found[1] == pytest.approx(10 * 0.064)
    assert found[2] == pytest.approx(30 * 0.064)
    for each in spent:
        assert each.rounds >= FEWEST
        assert each.request.load(Job("io", STYLES[0]), 1).window <= asked.window


def test_no_window_grows_without_bound_nor_does_one_of_an_open_loop() -> None:
    stuck = replace(REQUEST, residence={Job("cpu", style): 60.0 for style in STYLES}, responses=30.0)
    assert stuck.load(Job("cpu", STYLES[0]), 1).window == 3.0
    assert stuck.load(Job("cpu", STYLES[0]), 0).window < REQUEST.window


def test_a_given_time_is_spent_on_as_many_rounds_as_it_holds() -> None:
    usual, longer = Options().request(), Options(time=600.0).request()
    assert (usual.rounds, usual.fixed) == (8, False)
    rounds = [
        spend(each, Lanes(each), each.seconds, Pace()).rounds
        for each in (longer, Options(time=1200.0).request())
    ]
    assert 8 < rounds[0] < rounds[1]


def test_with_rounds_and_a_time_so_many_rounds_are_made_to_fit() -> None:
    asked = Options(rounds=20, time=200.0).request()
    assert (asked.rounds, asked.fewest, asked.fixed) == (20, 20, False)
    assert asked.dropped
    rehearsal = round_seconds(asked, Lanes(asked).rehearsal(), Pace(0.5), 0)
    spent = spend(asked, Lanes(asked), 200.0 - rehearsal - AFTER_SECONDS, Pace(0.5))
    assert (spent.rounds, spent.request.dropped) == (20, asked.dropped)
    assert Options(rounds=20).request().fixed


def test_what_cannot_fit_its_time_is_left_out_before_anything_runs() -> None:
    asked = Options(time=70.0).request()
    assert 1 <= len(asked.workloads) < len(CORE)
    assert (*asked.workloads, *asked.dropped) == (*CORE, "sweep")
    assert asked.sweep == ()


@pytest.mark.parametrize(
    "options", [Options(time=10.0), Options(time=60.0, rounds=90), Options(time=3.0, quick=True)]
)
def test_a_time_that_holds_nothing_is_refused(options: Options) -> None:
    with pytest.raises(UsageError, match=r"s are too few: \d+ rounds of \w+ alone.*give them with --time"):
        options.request()


# What a pair of processes takes to start and to stop where little else runs, and the mean response times there.
PAIR = 0.55
RESIDENCE = {"io": 0.0125, "cpu": 0.066, "payload-64k": 0.014, "echo": 0.004}


@pytest.mark.parametrize(
    ("options", "least", "seconds"), [(Options(), 6, 169.0), (Options(quick=True), 5, 41.0)]
)
def test_a_run_without_options_has_time_for_all_that_it_is_to_measure(
    options: Options, least: int, seconds: float
) -> None:
    request = replace(options.request(), backends=BACKENDS)
    residence = {job: RESIDENCE.get(job.workload, 0.0) for job in request.jobs}
    rehearsal = round_seconds(request, Lanes(request).rehearsal(), Pace(PAIR), 0)
    left = request.seconds - rehearsal - AFTER_SECONDS
    spent = spend(replace(request, residence=residence), Lanes(request), left, Pace(PAIR))
    assert spent.request.dropped == ()
    assert spent.rounds >= least
    assert (
        rehearsal
        + spent.rounds * round_seconds(spent.request, lanes(spent.request), Pace(PAIR))
        + AFTER_SECONDS
        < seconds
    )


def test_a_search_is_begun_though_it_takes_the_time_of_many_windows() -> None:
    asked = Options(
        rate="search", slo="p99=20ms", workloads=["io"], backends=["asyncio", "threading"]
    ).request()
    assert asked.workloads == ("io",)
    lane = Lane("pyzmq", "pyzmq", asked.jobs, "peer")
    assert windows(asked, lane, 1) == 1
    assert windows(asked, lane._replace(kind="backend"), 1) > 10


def test_the_ceiling_is_measured_in_the_rehearsal_unless_there_is_much_time() -> None:
    kinds = [lane.kind for lane in Lanes(REQUEST).rehearsal()]
    assert kinds.count("null") == 1
    assert "null" not in {lane.kind for lane in lanes(REQUEST)}
    assert "null" in {lane.kind for lane in lanes(replace(REQUEST, thorough=True))}


def test_a_round_of_a_thorough_run_has_time_for_its_sweep() -> None:
    thorough = replace(REQUEST, thorough=True)
    swept = round_seconds(thorough, lanes(thorough), Pace())
    assert swept > round_seconds(replace(thorough, sweep=()), lanes(thorough), Pace()) + 2


def test_a_round_has_every_backend_once_and_one_of_them_twice() -> None:
    kinds = [(lane.kind, lane.backend) for lane in lanes(REQUEST)]
    assert kinds[:2] == [("backend", "asyncio"), ("backend", "gevent")]
    assert [kind for kind, _ in kinds[2:]] == ["twin"]


def twin(request: Request) -> list[str]:
    [lane] = [lane for lane in lanes(request) if lane.kind == "twin"]
    return [job.workload for job in lane.jobs]


def test_a_backend_is_measured_twice_in_a_cell_of_every_kind() -> None:
    assert twin(REQUEST) == ["lone", "echo", "echo", "echo-rate", "cpu"]
    assert twin(replace(REQUEST, workloads=("echo", "io"))) == ["echo", "echo", "io"]
    assert twin(replace(REQUEST, workloads=("echo", "io"), quick=True)) == ["echo", "io"]
    assert twin(replace(REQUEST, workloads=("payload-64k", "cpu"))) == ["payload-64k", "payload-64k"]
    assert twin(replace(REQUEST, rate=100.0)) == ["echo", "echo"]
    scenario = replace(REQUEST, workloads=("scenario",), scenario="work.py")
    assert twin(scenario) == ["scenario", "scenario"]


def test_what_failed_is_not_tried_again() -> None:
    made = Lanes(REQUEST)
    made.failed.add(Lane("gevent", "threading", REQUEST.jobs))
    assert [lane.backend for lane in made.round() if lane.kind == "backend"] == ["asyncio"]
    made.failed.add(Lane("asyncio", "threading", REQUEST.jobs))
    assert made.round() == []


def test_the_rehearsal_measures_what_the_common_rate_is_found_by() -> None:
    made = Lanes(replace(REQUEST, workloads=("echo-rate",)))
    capacity = Job("echo", FIRE_AND_CALLBACK)
    assert all(capacity in lane.jobs for lane in made.rehearsal() if lane.kind == "backend")
    assert not any(capacity in lane.jobs for lane in made.round())


def ended(start: float, holds: Callable[[float], bool]) -> tuple[float, float | None, list[Step], int]:
    """What a search finds, and in how many windows."""
    steps = search(start)
    rate = next(steps)
    for tries in itertools.count(1):
        try:
            rate = steps.send(Tried(holds(rate), 0.001))
        except StopIteration as end:
            return (*end.value, tries)
    raise AssertionError


@pytest.mark.parametrize("capacity", [12.0, 480.0, 12_345.0, 400_000.0])
@pytest.mark.parametrize("start", [100.0, 30_000.0])
def test_a_search_finds_the_capacity_within_a_tenth(capacity: float, start: float) -> None:
    passes, fails, made, tries = ended(start, lambda rate: rate <= capacity)
    assert fails is not None
    assert passes <= capacity < fails <= 1.1 * passes
    assert sum(step.windows for step in made) == tries < 60


def test_of_three_windows_two_decide() -> None:
    steps = search(100.0)
    assert next(steps) == 100.0
    assert steps.send(Tried(True, 1.0)) == 100.0
    assert steps.send(Tried(False, 1.0)) == 100.0
    assert steps.send(Tried(True, 1.0)) == 200.0
    assert steps.send(Tried(False, 1.0)) == 200.0
    assert steps.send(Tried(False, 1.0)) == pytest.approx(141.4, abs=0.1)


def test_where_no_rate_passes_a_search_ends() -> None:
    assert ended(1000.0, lambda _: False)[:2] == (0.0, 10.0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("p99=20ms", ("p99", 0.02)),
        ("p99.9 <= 1.5 s", ("p999", 1.5)),
        ("max<500us", ("max", 0.0005)),
        ("mean = 1ms", ("mean", 0.001)),
    ],
)
def test_an_objective(text: str, expected: tuple[str, float]) -> None:
    assert Objective.parse(text) == pytest.approx(expected) or Objective.parse(text) == expected


@pytest.mark.parametrize("text", ["", "p99", "p99=20", "p98=1ms", "p99=-1ms", "p99>20ms"])
def test_what_is_no_objective(text: str) -> None:
    with pytest.raises(ValueError, match="p99=20ms"):
        Objective.parse(text)
