"""What is decided before anything is measured, or without measuring: rounds and units for a time,
and who runs in a round.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ringback.compare.asking import FEWEST, request_of
from ringback.compare.load.plan import FIRE_AND_CALLBACK, RAW, REQUEST_REPLY, STYLES
from ringback.compare.options import BACKENDS, CompareOptions
from ringback.compare.results import Arm
from ringback.compare.run.budget import (
    AFTER_SECONDS,
    Pace,
    a_round,
    affordable,
    round_seconds,
    spend,
)
from ringback.compare.run.request import CellJob, CompareRequest
from ringback.compare.run.treatments import Treatment, groups, server, treatments
from ringback.compare.workloads.table import CORE, WORKLOADS, figure_of
from ringback.errors import UsageError

REQUEST = CompareRequest(
    ("asyncio", "gevent"), styles=STYLES, workloads=CORE, fewest=FEWEST, seed=1
)


def seconds_of(request: CompareRequest) -> float:
    """What a round takes with the units that it has."""
    return round_seconds(request, a_round(request), Pace(), request.units)


# The time of a run


@settings(max_examples=40)
@given(st.floats(1, 1000))
def test_rounds_fit_the_time_that_there_is(seconds: float) -> None:
    spent = spend(REQUEST, seconds, Pace())
    assert spent.rounds <= REQUEST.rounds
    assert spent.rounds >= FEWEST or spent.workloads == CORE[:1]
    assert (*spent.workloads, *spent.dropped) == CORE
    assert set(spent.units) == set(spent.jobs)
    assert min(spent.units.values()) >= 1
    taken = spent.rounds * seconds_of(spent)
    assert taken <= seconds
    if spent.rounds >= FEWEST:
        # What is left would not do for one unit more of everything.
        more = {job: units + spent.weight(job) for job, units in spent.units.items()}
        assert spent.rounds * round_seconds(spent, a_round(spent), Pace(), more) > seconds


def test_more_time_never_means_less() -> None:
    spent = [spend(REQUEST, seconds, Pace()) for seconds in range(1, 300, 5)]
    measured = [(len(each.workloads), each.rounds) for each in spent]
    assert [many for many, _ in measured] == sorted(many for many, _ in measured)
    assert measured[0] == (1, 0)
    assert measured[-1] == (len(CORE), REQUEST.rounds)


def test_units_are_in_the_proportion_of_their_weights() -> None:
    spent = spend(REQUEST, 1000.0, Pace())
    scale = {job: units / WORKLOADS[job.workload].units for job, units in spent.units.items()}
    assert min(scale.values()) > 4
    # Each is a whole number.
    assert max(scale.values()) - min(scale.values()) < 1


def test_what_was_asked_for_is_measured_whatever_it_takes_and_as_often_as_is_given() -> None:
    asked = replace(REQUEST, rounds=30, fixed=True)
    units = {job: WORKLOADS[job.workload].units for job in asked.jobs}
    assert spend(asked, 1.0, Pace()) == replace(asked, units=units)
    given = {CellJob("echo", REQUEST_REPLY): 2}
    asked = replace(asked, units=given)
    assert spend(asked, 1.0, Pace()).units == units | given


def test_a_round_has_two_slices_of_each_treatment_in_every_unit_and_one_in_the_calibration() -> (
    None
):
    asked = replace(REQUEST, workloads=("io",), styles=(REQUEST_REPLY,))
    [job] = asked.jobs
    pace = Pace(pair=10.0, slice=1.0)
    window = asked.load(job, 1).window
    # Two backends, of which one is there twice.
    found = [round_seconds(asked, a_round(asked), pace, {job: units}) for units in (1, 5)]
    assert found == pytest.approx([3 * (10.0 + 2 * units * (window + 1.0)) for units in (1, 5)])
    before = round_seconds(asked, treatments(asked), pace, {}, 0)
    assert before == pytest.approx(2 * (10.0 + asked.load(job, 0).window + 1.0))


def test_a_given_time_is_spent_on_as_many_rounds_as_it_holds() -> None:
    usual, longer = request_of(CompareOptions()), request_of(CompareOptions(time=600.0))
    assert (usual.rounds, usual.fixed) == (8, False)
    rounds = [
        spend(each, each.seconds, Pace()).rounds
        for each in (longer, request_of(CompareOptions(time=1200.0)))
    ]
    assert 8 < rounds[0] < rounds[1]


def test_with_rounds_and_a_time_so_many_rounds_are_made_to_fit() -> None:
    asked = request_of(CompareOptions(rounds=20, time=100.0))
    assert (asked.rounds, asked.fewest, asked.fixed) == (20, 20, False)
    assert asked.dropped
    swift = Pace(0.4)
    before = round_seconds(asked, treatments(asked), swift, {}, 0)
    spent = spend(asked, 100.0 - before - AFTER_SECONDS, swift)
    assert (spent.rounds, spent.dropped) == (20, asked.dropped)
    assert request_of(CompareOptions(rounds=20)).fixed


def test_what_cannot_fit_its_time_is_left_out_before_anything_runs() -> None:
    asked = request_of(CompareOptions(time=24.0))
    assert 1 <= len(asked.workloads) < len(CORE)
    assert (*asked.workloads, *asked.dropped) == CORE
    assert affordable(asked) == asked


@pytest.mark.parametrize(
    "options",
    [
        CompareOptions(time=10.0),
        CompareOptions(time=60.0, rounds=90),
        CompareOptions(time=3.0, quick=True),
    ],
)
def test_a_time_that_holds_nothing_is_refused(options: CompareOptions) -> None:
    with pytest.raises(
        UsageError, match=r"s are too few: \d+ rounds of \w+ alone.*Use --time \d+ or more"
    ):
        request_of(options)


@pytest.mark.parametrize(
    ("options", "least", "seconds"),
    [(CompareOptions(), 6, 169.0), (CompareOptions(quick=True), 5, 58.0)],
)
def test_a_run_without_options_has_time_for_all_that_it_is_to_measure(
    options: CompareOptions, least: int, seconds: float
) -> None:
    request = replace(request_of(options), backends=BACKENDS)
    before = round_seconds(request, treatments(request), Pace(), {}, 0)
    left = request.seconds - before - AFTER_SECONDS
    spent = spend(request, left, Pace())
    assert spent.dropped == ()
    assert spent.rounds >= least
    assert min(spent.units.values()) >= 1
    taken = before + spent.rounds * seconds_of(spent) + AFTER_SECONDS
    assert 0.9 * request.seconds < taken < seconds


# The slices of a cell


def test_slices_are_short_but_where_calls_take_or_come_in_their_time() -> None:
    request = replace(REQUEST, workloads=("echo", "io", "echo-rate", "overload", "counter"))
    windows = {job: request.load(job, 1).window for job in request.jobs}
    assert (
        windows[CellJob("echo", FIRE_AND_CALLBACK)] < windows[CellJob("echo", REQUEST_REPLY)] < 0.1
    )
    assert windows[CellJob("io", REQUEST_REPLY)] == WORKLOADS["io"].window
    assert windows[CellJob("overload", FIRE_AND_CALLBACK)] == WORKLOADS["overload"].window
    assert {job: request.load(job, 1).warmup for job in request.jobs} == dict.fromkeys(
        request.jobs, 0.0
    )


@pytest.mark.parametrize(("rate", "window"), [(10_000.0, 0.05), (200.0, 0.1), (1.0, 1.0)])
def test_a_slice_at_a_rate_has_calls_in_it_if_that_takes_no_second(
    rate: float, window: float
) -> None:
    request = replace(REQUEST, rate=rate, workloads=("echo",))
    load = request.load(CellJob("echo", REQUEST_REPLY), 1)
    assert (load.rate, load.window) == (rate, window)


def test_slices_of_a_calibration_are_longer() -> None:
    job = CellJob("echo", FIRE_AND_CALLBACK)
    assert REQUEST.load(job, 1).window < REQUEST.load(job, 0).window


def test_each_round_has_arrivals_of_its_own_and_all_arms_the_same() -> None:
    job = CellJob("echo-rate", FIRE_AND_CALLBACK)
    assert len({REQUEST.load(job, number).seed for number in range(4)}) == 4
    assert REQUEST.load(job, 1) == REQUEST.load(job, 1)


@pytest.mark.parametrize(
    ("workload", "opened", "figure"),
    [
        ("echo", False, "server_cpu"),
        ("pooled", False, "server_cpu"),
        ("flood", False, "server_cpu"),
        ("echo-rate", True, "server_cpu"),
        ("lone", False, "p50"),
        ("io", False, "throughput"),
        ("counter-lock", False, "throughput"),
        ("scenario", False, "throughput"),
        ("echo", True, "p50"),
        ("io", True, "p50"),
        ("scenario", True, "p50"),
    ],
)
def test_what_cells_of_a_workload_are_compared_by(workload: str, opened: bool, figure: str) -> None:
    assert figure_of(workload, opened=opened) == figure


# Who runs in a round


def test_a_round_has_every_backend_once_and_one_of_them_twice_in_all_cells() -> None:
    found = a_round(REQUEST)
    *arms, control, other = found
    assert [(treatment.kind, treatment.arm, treatment.client) for treatment in arms] == [
        ("backend", backend, client)
        for backend in REQUEST.backends
        for client in ("threading", RAW)
    ]
    assert {control.kind, other.kind} == {"control"}
    assert control.server == other.server
    assert {treatment._replace(kind="backend") for treatment in (control, other)} == {
        treatment for treatment in arms if treatment.arm == control.arm
    }
    # All treatments of an arm have one server, and between them every cell.
    assert len({treatment.server for treatment in arms}) == 2
    assert {treatment.client: {job.workload for job in treatment.jobs} for treatment in arms} == {
        "threading": {*CORE} - {"flood"},
        RAW: {"flood"},
    }


def test_those_that_are_compared_run_beside_each_other_and_other_libraries_alone() -> None:
    asked = replace(
        REQUEST, clients=("threading", "asyncio"), workloads=("echo",), peers=("pyzmq",)
    )
    ours, [peer] = groups(a_round(asked))
    assert (peer.kind, peer.client) == ("peer", "pyzmq")
    assert Counter((treatment.kind, treatment.client) for treatment in ours) == {
        (kind, client): many
        for kind, many in (("backend", 2), ("control", 1))
        for client in asked.clients
    }


def test_what_has_a_client_of_its_own_is_called_by_that_alone() -> None:
    names = ("echo", "flood", "stream", "echo-rate", "counter-lock", "read-cache")
    asked = replace(REQUEST, clients=("asyncio", "gevent"), workloads=names)
    assert asked.callers == ("asyncio", "gevent", RAW)
    assert {job.workload for job in asked.jobs_of(RAW)} == {"flood"}
    for client in asked.clients:
        assert {job.workload for job in asked.jobs_of(client)} == {*names} - {"flood"}


def test_as_many_calls_are_in_flight_as_the_workload_fixes_or_else_as_are_asked_for() -> None:
    found = {
        asked: [
            replace(REQUEST, concurrency=asked).in_flight(WORKLOADS[name])
            for name in ("echo", "flood", "io")
        ]
        for asked in (None, 5)
    }
    assert found == {None: [8, 64, 64], 5: [5, 64, 5]}


def test_an_arm_is_a_backend_with_options_of_its_server_perhaps_of_another_installation() -> None:
    many, old = (
        Arm("many", "asyncio", ("--processes", "2")),
        Arm("old", "gevent", python="/old/bin/python", version="1"),
    )
    asked = replace(
        REQUEST,
        backends=("asyncio", "many", "old"),
        workloads=("echo",),
        arms={"many": many, "old": old},
    )
    plain, twofold, other = (server(asked, treatment, "") for treatment in treatments(asked))
    assert plain.words[:4] == ("ringback.server", asked.service, "--backend", "asyncio")
    assert twofold == plain._replace(words=(*plain.words, "--processes", "2"))
    words = tuple("gevent" if word == "asyncio" else word for word in plain.words)
    assert other == plain._replace(words=words, python=old.python)


def test_what_failed_is_not_tried_again() -> None:
    failed = {Treatment("gevent", "threading", REQUEST.jobs)}
    assert [str(treatment) for treatment in treatments(REQUEST, failed)] == [
        "asyncio, threading client",
        "asyncio, raw client",
        "gevent, raw client",
    ]
    assert treatments(REQUEST, treatments(REQUEST)) == []
    # To fail once more is no reason to be left out.
    assert treatments(
        REQUEST, {treatment._replace(kind="control") for treatment in treatments(REQUEST)}
    ) == treatments(REQUEST)
