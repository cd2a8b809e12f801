"""What formulas say of a cell: from which measurements, and never from those of the cell itself."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from ringback.compare.results import Cpu, Latency, Overshoot, Prediction, Rate, Report, Result
from ringback.compare.statistics.predictions import predict
from samples import STYLES, environment, report, result, whole

WAIT, FIRE = STYLES


def one(workload: str, style: str = WAIT, backend: str = "asyncio", **changes: Any) -> Result:
    return result(backend, workload, style, [1000.0, 1000.0], **changes)


def opened(workload: str, style: str = FIRE, rate: float = 100.0, **changes: Any) -> Result:
    return one(
        workload,
        style,
        loop="open",
        rate=Rate(rate, rate, 0),
        service=Latency(mean=0.02),
        **changes,
    )


def of(workload: str, *cells: Result, style: str | None = None, **about: Any) -> list[Prediction]:
    made = report(*cells, environment=environment(**about))
    predict(made)
    return [
        each
        for each in made.predictions
        if each.workload == workload and each.style == (style or each.style)
    ]


LONE = one("lone", concurrency=1, latency=Latency(mean=0.0002))
ECHO = one("echo", FIRE, cpu=Cpu(2e-5, 3e-5))


def test_they_stand_beside_what_was_measured() -> None:
    made: Report = whole()
    predict(made)
    assert {(each.workload, each.model) for each in made.predictions} == {
        ("io", "asymptotic bounds"),
        ("cpu", "asymptotic bounds"),
    }
    for each in made.predictions:
        assert each.error == pytest.approx(each.predicted / each.measured - 1)
    assert {each.figure for each in made.predictions} == {"throughput", "mean"}
    assert {each.arm for each in made.predictions} == {"asyncio", "gevent", "threading", "twisted"}


def test_nothing_of_the_predicted_cell_itself_is_in_its_prediction() -> None:
    cells = [LONE, ECHO, one("io"), opened("io"), one("cpu"), one("cpu", FIRE), opened("mixed")]
    for number, cell in enumerate(cells):
        changed = msgspec.structs.replace(
            cell,
            throughput=7 * cell.throughput,
            cpu=Cpu(1.0, 1.0),
            latency=Latency(*[9.0] * 6),
            service=cell.service and Latency(*[9.0] * 6),
        )
        was, now = (
            {
                each.model: each.predicted
                for each in of(
                    cell.workload, *cells[:number], made, *cells[number + 1 :], style=cell.style
                )
            }
            for made in (cell, changed)
        )
        assert was == now
        assert bool(now) == (cell.workload not in ("lone", "echo"))


def test_a_wait_takes_what_a_sleep_and_a_call_take_here() -> None:
    calls, mean = of("io", LONE, one("io"), sleep_overshoot=Overshoot(0.0001, 0.001))
    assert mean.predicted == pytest.approx(0.0103)
    assert calls.predicted == pytest.approx(64 / 0.0103)
    assert mean.inputs == "10 ms wait, how late a sleep ends, a lone call's time"
    _, mean = of("io", one("io"))
    assert (mean.predicted, mean.inputs) == (pytest.approx(0.01), "10 ms wait")


def test_computing_takes_what_it_took_the_server_in_the_other_style() -> None:
    cells = [one("cpu", cpu=Cpu(0.0012)), one("cpu", FIRE, cpu=Cpu(0.0015)), ECHO]
    calls, _ = of("cpu", *cells, style=WAIT)
    assert calls.predicted == pytest.approx(1 / 0.0015)
    assert calls.inputs == "server CPU time of cpu by fire-and-callback"
    calls, _ = of("cpu", cells[0], ECHO)
    assert calls.predicted == pytest.approx(1 / 0.00102)
    assert (
        calls.inputs
        == "1 ms of computing, as calibrated, server CPU time of echo by fire-and-callback"
    )
    calls, _ = of("cpu", cells[0])
    assert calls.inputs == "1 ms of computing, as calibrated"


@pytest.mark.parametrize(
    ("workload", "server", "model"),
    [
        ("io", "asyncio", "M/M/c, Allen-Cunneen"),
        ("cpu", "asyncio", "M/G/1-PS"),
        ("cpu", "gevent", "M/G/1"),
        ("mixed", "gevent", "M/G/1"),
    ],
)
def test_at_a_rate_handlers_queue_as_their_backend_runs_them(
    workload: str, server: str, model: str
) -> None:
    [found] = of(workload, opened(workload, backend=server))
    assert found.model == model
    assert "lone" not in found.inputs
    assert not of(workload, opened(workload, backend=server, rate=1e5))  # more than it can do


def test_an_arm_is_predicted_from_its_own_cells_and_as_its_backend_runs_handlers() -> None:
    other = {"backend": "gevent", "arm": "gevent-limited"}
    computed = one("cpu", cpu=Cpu(0.0012), **other)
    found = {
        each.arm: each
        for each in of("cpu", computed, opened("cpu", **other), opened("cpu"), style=FIRE)
    }
    assert found["gevent-limited"].model == "M/G/1"
    assert found["gevent-limited"].inputs == "server CPU time of cpu by request-reply"
    assert found["asyncio"].inputs == "1 ms of computing, as calibrated"


@pytest.mark.parametrize("workload", ["echo", "echo-rate", "burst"])
def test_short_calls_are_not_predicted_as_what_batches_them_is_in_no_formula(workload: str) -> None:
    assert of(workload, LONE, ECHO, opened(workload)) == []
