"""`--fail-if`: what a condition picks, and when it is decided."""

from __future__ import annotations

import pytest
from ringback.compare.report.conditions import Condition, check, refuse
from ringback.compare.report.difference import Difference, ReportChanges
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


def told(text: str, *results: Result) -> str:
    found = check([Condition.parse(text)], report(*results))
    return "broken" if found.broken else "undecided" if found.undecided else "held back"


OPEN: dict[str, object] = {"loop": "open", "rate": Rate(100.0, 100.0, 0)}
OVER: dict[str, object] = {"loop": "open", "rate": Rate(100.0, 50.0, 7, overloaded=True)}


@pytest.mark.parametrize(
    ("cell", "outcome", "texts"),
    [
        # It is decided by the whole interval,
        (
            result(),
            "broken",
            "p99>14ms; p99 <= 21ms; throughput<1101; wrong>=0; asyncio.echo.p50>1ms",
        ),
        (result(), "undecided", "p99>20ms; throughput<1e3; server_cpu>5.5us"),
        (result(), "held back", "p99>22ms; throughput<899; server_cpu>7us; errors>0"),
        (result(), "held back", "echo.request-reply.p50>1s"),
        # or that of the rounds: here of 14.3, 15 and 15.8 ms.
        (
            measured("asyncio", "io", STYLE, [980.0, 1000.0, 1020.0]),
            "broken",
            "p90>12ms; mean>10ms",
        ),
        (
            measured("asyncio", "io", STYLE, [980.0, 1000.0, 1020.0]),
            "undecided",
            "p90>15ms; mean>11ms",
        ),
        (measured("asyncio", "io", STYLE, [980.0, 1000.0, 1020.0]), "held back", "p90>16ms"),
        # One round decides nothing but what was counted.
        (
            measured("asyncio", "io", STYLE, [1000.0]),
            "undecided",
            "throughput<10; p99>1us; mean>1us",
        ),
        (measured("asyncio", "io", STYLE, [1000.0]), "held back", "errors>0"),
        # What the load generator limits is a lower bound of the servers,
        (result(limit="client"), "broken", "throughput>800"),
        (result(limit="client"), "undecided", "throughput<1200; throughput>1200"),
        (result(limit="client"), "held back", "throughput<800; server_cpu>7us"),
        # and the time of one that sends late is an upper bound.
        (result(limit="client", **OPEN), "undecided", "p99>10ms"),
        (result(limit="client", **OPEN), "held back", "p99>22ms"),
        # No time is the end of an overloaded cell, if it was the server.
        (result(**OVER), "broken", "p99>10s"),
        (result(**OVER), "held back", "p99<1ms"),
        (result(**OVER, limit="client"), "undecided", "p99>10s"),
        # What proves nothing decides nothing, and neither does what was left out.
        (result(void="Little's law is off"), "undecided", "p99>1us"),
        (result(calls=0), "undecided", "p99>1us"),
        (result(), "undecided", "twisted.p99>1ms"),
    ],
)
def test_a_condition_is_decided_where_all_that_may_be_is_on_one_side(
    cell: Result, outcome: str, texts: str
) -> None:
    assert {text: told(text, cell) for text in texts.split("; ")} == dict.fromkeys(
        texts.split("; "), outcome
    )


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
    found = check(
        [Condition.parse("asyncio-limited.p99>1us"), Condition.parse("asyncio.p99>1us")], both
    )
    assert found.broken == [
        "asyncio-limited.p99>1us in echo, request-reply: asyncio-limited",
        "asyncio.p99>1us in echo, request-reply: asyncio",
    ]


def test_a_condition_names_the_client_where_there_are_several() -> None:
    both = report(result(), result(client="asyncio"))
    found = check([Condition.parse("p99>1us")], both)
    assert found.broken == [
        "p99>1us in echo, request-reply: asyncio",
        "p99>1us in echo, request-reply: asyncio, asyncio client",
    ]


CELL = ("asyncio", "threading", "request-reply", "echo")
SLOWER = Difference(*CELL, "throughput", 1000.0, 900.0, 0.9, (0.85, 0.94), "worse")


SLOWER_TAIL = Difference(*CELL, "p99", 0.010, 0.012, 0.83, (0.8, 0.9), "worse")
TOO_FEW = Difference(*CELL, "throughput", 1000.0, 1.0, 0.001, None, "unclear")


@pytest.mark.parametrize(
    ("text", "change", "outcome"),
    [
        ("throughput<95%", SLOWER, "broken"),
        ("throughput<90%", SLOWER, "undecided"),
        ("throughput<80%", SLOWER, "held back"),
        # Of times it is the figure after, too, though the ratio says how much better that is.
        ("p99>110%", SLOWER_TAIL, "broken"),
        ("p99>120%", SLOWER_TAIL, "undecided"),
        ("p99>126%", SLOWER_TAIL, "held back"),
        # However far they lie apart.
        ("throughput<95%", TOO_FEW, "undecided"),
        ("throughput>95%", TOO_FEW, "undecided"),
    ],
)
def test_a_percentage_is_of_the_older_runs(text: str, change: Difference, outcome: str) -> None:
    found = check([Condition.parse(text)], report(), ReportChanges([change]))
    assert (bool(found.broken), bool(found.undecided)) == (
        outcome == "broken",
        outcome == "undecided",
    )


def test_what_runs_cannot_tell_is_undecided() -> None:
    not_compared = Difference(*CELL[:3], "io", "throughput", why="the load generator was the limit")
    conditions = [Condition.parse("io.throughput<95%")]
    assert check(conditions, report(), ReportChanges([SLOWER], [not_compared])).undecided
    assert check(
        [Condition.parse("throughput<95%")], report(), ReportChanges([SLOWER], trusted=False)
    ).undecided


def test_what_can_pick_nothing_is_refused_before_the_run() -> None:
    refuse([Condition.parse("asyncio.echo.p99>1ms")], [result()], older=False)
    for text, why in (
        ("twisted.p99>1ms", "no cell has twisted"),
        ("p99<95%", "needs an older run"),
    ):
        with pytest.raises(ValueError, match=why):
            refuse([Condition.parse(text)], [result()], older=False)
    refuse([Condition.parse("p99<95%")], [result()], older=True)
    with pytest.raises(ValueError, match="there is no cell"):
        refuse([Condition.parse("p99>1ms")], [], older=False)


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
