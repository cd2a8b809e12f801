"""`--fail-if`: what a condition picks, and when it is decided."""

from __future__ import annotations

import pytest
from ringback.compare.report.conditions import Condition, check, refuse
from ringback.compare.report.difference import Changes, Difference, Untold
from ringback.compare.results import Cpu, Intervals, Latency, Rate, Report, Result, Verdict
from samples import report as report_of
from samples import result as measured

STYLE = "request-reply"


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
    return report_of(*results or [result()])


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
        ("errors>0", "held back"),
        ("wrong>=0", "broken"),
        ("asyncio.echo.p50>1ms", "broken"),
        ("echo.request-reply.p50>1s", "held back"),
    ],
)
def test_a_condition_is_decided_by_the_whole_interval(text: str, outcome: str) -> None:
    found = check([Condition.parse(text)], report())
    assert (bool(found.broken), bool(found.undecided)) == (outcome == "broken", outcome == "undecided")


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        ("p90>16ms", "held back"),  # rounds of 14.3, 15 and 15.8 ms
        ("p90>12ms", "broken"),
        ("p90>15ms", "undecided"),
        ("mean>10ms", "broken"),
        ("mean>11ms", "undecided"),
    ],
)
def test_what_has_no_interval_in_the_report_has_that_of_its_rounds(text: str, outcome: str) -> None:
    assert told(text, measured("asyncio", "io", STYLE, [980.0, 1000.0, 1020.0])) == outcome


def told(text: str, *results: Result) -> str:
    found = check([Condition.parse(text)], report(*results))
    return "broken" if found.broken else "undecided" if found.undecided else "held back"


def test_one_round_decides_nothing_but_what_was_counted() -> None:
    once = measured("asyncio", "io", STYLE, [1000.0])
    for text in ("throughput<10", "p99>1us", "mean>1us"):
        assert told(text, once) == "undecided"
    assert told("errors>0", once) == "held back"


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        ("throughput<1200", "undecided"),
        ("throughput<800", "held back"),
        ("throughput>800", "broken"),
        ("throughput>1200", "undecided"),
        ("server_cpu>7us", "held back"),
    ],
)
def test_what_the_load_generator_limits_is_a_lower_bound_of_the_servers(text: str, outcome: str) -> None:
    assert told(text, result(limit="client")) == outcome


def test_the_time_of_a_generator_that_sends_late_is_an_upper_bound() -> None:
    late = result(limit="client", loop="open", rate=Rate(100.0, 100.0, 0))
    assert [told(f"p99>{value}ms", late) for value in (10, 22)] == ["undecided", "held back"]


def test_no_time_is_the_end_of_an_overloaded_cell() -> None:
    over: dict[str, object] = {"loop": "open", "rate": Rate(100.0, 50.0, 7, overloaded=True)}
    assert told("p99>10s", result(**over)) == "broken"
    assert told("p99<1ms", result(**over)) == "held back"
    assert told("p99>10s", result(**over, limit="client")) == "undecided"  # then it was not the server


def test_of_a_run_that_cannot_be_trusted_only_counts_are_told() -> None:
    made = report(result(errors=3))
    made.verdict = Verdict(trusted=False)
    found = check([Condition.parse("p99>1us"), Condition.parse("errors>0")], made)
    assert found.broken == ["errors>0 in echo, request-reply: asyncio"]
    assert found.undecided == ["p99>1us in echo, request-reply: asyncio"]


def test_a_condition_names_the_cells_that_meet_it() -> None:
    both = report(result(), result("gevent", interval=Intervals((100.0, 200.0))))
    found = check([Condition.parse("echo.throughput<500")], both)
    assert found.broken == ["echo.throughput<500 in echo, request-reply: gevent"]
    assert check([Condition.parse("asyncio.throughput<500")], both).broken == []


def test_a_condition_picks_arms_whatever_their_backend() -> None:
    both = report(result(), result(arm="asyncio-limited"))
    found = check([Condition.parse("asyncio-limited.p99>1us"), Condition.parse("asyncio.p99>1us")], both)
    assert found.broken == [
        "asyncio-limited.p99>1us in echo, request-reply: asyncio-limited",
        "asyncio.p99>1us in echo, request-reply: asyncio",
    ]


@pytest.mark.parametrize("changes", [{"void": "Little's law is off"}, {"calls": 0}])
def test_what_proves_nothing_decides_nothing(changes: dict[str, object]) -> None:
    assert check([Condition.parse("p99>1us")], report(result(**changes))).undecided


def test_a_condition_names_the_client_where_there_are_several() -> None:
    both = report(result(), result(client="asyncio"))
    found = check([Condition.parse("p99>1us")], both)
    assert found.broken == [
        "p99>1us in echo, request-reply: asyncio",
        "p99>1us in echo, request-reply: asyncio, asyncio client",
    ]


CELL = ("asyncio", "threading", "request-reply", "echo")
SLOWER = Difference(*CELL, "throughput", 1000.0, 900.0, 0.9, (0.85, 0.94), "worse")


def test_a_percentage_is_of_the_older_run() -> None:
    below = [Condition.parse(f"throughput<{percent}%") for percent in (95, 90)]
    assert check(below[:1], report(), Changes([SLOWER])).broken
    assert check(below[1:], report(), Changes([SLOWER])).undecided


def test_what_two_runs_cannot_tell_is_undecided() -> None:
    untold = Untold(*CELL[:3], "io", "throughput", "the load generator was the limit")
    conditions = [Condition.parse("io.throughput<95%")]
    assert check(conditions, report(), Changes([SLOWER], [untold])).undecided
    assert check([Condition.parse("throughput<95%")], report(), Changes([SLOWER], trusted=False)).undecided


def test_what_can_pick_nothing_is_refused_before_the_run() -> None:
    refuse([Condition.parse("asyncio.echo.p99>1ms")], [result()], older=False)
    for text, why in (("twisted.p99>1ms", "no cell has twisted"), ("p99<95%", "needs an older run")):
        with pytest.raises(ValueError, match=why):
            refuse([Condition.parse(text)], [result()], older=False)
    refuse([Condition.parse("p99<95%")], [result()], older=True)
    with pytest.raises(ValueError, match="there is no cell"):
        refuse([Condition.parse("p99>1ms")], [], older=False)


def test_a_cell_that_was_left_out_is_undecided() -> None:
    assert told("twisted.p99>1ms", result()) == "undecided"


@pytest.mark.parametrize(
    "text",
    [
        *("", "p99", "p99>20", "p98>1ms", "throughput<5ms", "errors>1ms", "p99>ms", "p99==1ms"),
        *("max>1s", "p999>1s"),  # no round has them, so they have no interval
        *("errors>5%", "mean>110%"),  # of two runs these are not compared
    ],
)
def test_what_is_no_condition(text: str) -> None:
    with pytest.raises(ValueError, match="bad condition"):
        Condition.parse(text)
