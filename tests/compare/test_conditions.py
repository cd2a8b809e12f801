"""`--fail-if`: what a condition picks, and when it is decided."""

from __future__ import annotations

import pytest
from ringback.compare.conditions import Condition, check
from ringback.compare.difference import Difference
from ringback.compare.results import Cpu, Environment, Intervals, Latency, Report, Result


def result(backend: str = "asyncio", workload: str = "echo", **changes: object) -> Result:
    fields: dict[str, object] = {
        "client": "threading",
        "style": "request-reply",
        "concurrency": 64,
        "throughput": 1000.0,
        "latency": Latency(0.010, 0.015, 0.018, 0.030, 0.040, 0.011),
        "errors": 0,
        "calls": 1000,
        "errors_by_code": {},
        "wrong": 0,
        "workers": 64,
        "seconds": 1.0,
        "interval": Intervals((900.0, 1100.0), (0.009, 0.011), (0.015, 0.021), (5e-6, 6e-6)),
        "cpu": Cpu(5.5e-6),
    }
    return Result(backend=backend, workload=workload, **{**fields, **changes})


def report(*results: Result) -> Report:
    return Report(
        environment=Environment(
            ringback="1",
            python="3.11.0",
            implementation="CPython",
            platform="Linux",
            kernel="6",
            cpus=2,
            cpu_model="a CPU",
            packages={},
            seed=1,
            started="2025-01-01T00:00:00+00:00",
            load_before=None,
            quick=True,
            warmup=0.1,
            window=0.6,
            cpu_steps=1000,
        ),
        results=list(results) or [result()],
    )


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        ("p99>22ms", "held back"),
        ("p99>14ms", "broken"),
        ("p99>20ms", "undecided"),
        ("p99 <= 21ms", "broken"),
        ("throughput<899", "held back"),
        ("throughput<1101", "broken"),
        ("throughput<1e3", "undecided"),
        ("server_cpu>7us", "held back"),
        ("server_cpu>5.5us", "undecided"),
        ("max>39ms", "broken"),
        ("errors>0", "held back"),
        ("wrong>=0", "broken"),
        ("asyncio.echo.p50>1ms", "broken"),
        ("echo.request-reply.p50>1s", "held back"),
    ],
)
def test_a_condition_is_decided_by_the_whole_interval(text: str, outcome: str) -> None:
    found = check([Condition.parse(text)], report())
    assert (bool(found.broken), bool(found.undecided)) == (outcome == "broken", outcome == "undecided")


def test_a_condition_names_the_cells_that_meet_it() -> None:
    both = report(result(), result("gevent", interval=Intervals((100.0, 200.0))))
    found = check([Condition.parse("echo.throughput<500")], both)
    assert found.broken == ["echo.throughput<500 in gevent echo request-reply"]
    assert check([Condition.parse("asyncio.throughput<500")], both).broken == []


@pytest.mark.parametrize("changes", [{"void": "Little's law is off"}, {"calls": 0}])
def test_what_proves_nothing_decides_nothing(changes: dict[str, object]) -> None:
    assert check([Condition.parse("p99>1us")], report(result(**changes))).undecided


def test_a_percentage_is_of_the_older_run() -> None:
    change = Difference(
        "asyncio",
        "threading",
        "request-reply",
        "echo",
        "throughput",
        1000.0,
        900.0,
        0.9,
        (0.85, 0.94),
        "worse",
    )
    assert check([Condition.parse("throughput<95%")], report(), [change]).broken
    assert check([Condition.parse("throughput<90%")], report(), [change]).undecided
    with pytest.raises(ValueError, match="needs an older run"):
        check([Condition.parse("throughput<95%")], report())


def test_a_condition_that_picks_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match="picks nothing"):
        check([Condition.parse("twisted.p99>1ms")], report())


@pytest.mark.parametrize(
    "text", ["", "p99", "p99>20", "p98>1ms", "throughput<5ms", "errors>1ms", "p99>ms", "p99==1ms"]
)
def test_what_is_no_condition(text: str) -> None:
    with pytest.raises(ValueError, match="bad condition"):
        Condition.parse(text)
