"""A run beside an older one: what changed, what is not alike, and what cannot be compared."""

from __future__ import annotations

from typing import Any

import pytest
from ringback.compare.report.difference import Changes, changes
from ringback.compare.report.table import changed
from ringback.compare.results import Cpu, Rate, Report, Result, Search, Verdict
from samples import STYLES, cell, environment, report, result


def one(speed: float = 1000.0, workload: str = "io", style: str = STYLES[0], **how: Any) -> Result:
    return result("asyncio", workload, style, [speed * each for each in (0.99, 1.0, 1.01)], **how)


def found(before: Result | Report, after: Result | Report) -> Changes:
    return changes(*(report(each) if isinstance(each, Result) else each for each in (before, after)))


def figures(made: Changes) -> set[str]:
    return {each.figure for each in made.differences}


def why(made: Changes) -> set[str]:
    return {each.why for each in made.untold}


def test_a_change_is_found_in_the_cells_that_both_runs_have() -> None:
    before, after = (
        report(*cell({"asyncio": 1000.0, "gevent": 800.0})),
        report(*cell({"asyncio": 800.0, "twisted": 1.0}, seed=9)),
    )
    made = changes(before, after)
    by_figure = {each.figure: each for each in made.differences}
    assert set(by_figure) == {"throughput", "p99", "server_cpu"}
    assert {each.arm for each in made.differences} == {"asyncio"}
    assert by_figure["throughput"].ratio == pytest.approx(0.8, rel=0.05)
    assert {each.outcome for each in made.differences} == {"worse"}
    assert made.remarks == [
        "In one of the runs only, or there with another load: io, request-reply: gevent; io, request-reply: twisted."
    ]
    assert not changes(before, before).remarks


@pytest.mark.parametrize(
    "changes",
    [{"workers": 4}, {"loop": "open"}, {"concurrency": 8}, {"client": "gevent"}, {"arm": "asyncio-limited"}],
)
def test_cells_of_another_layout_are_other_cells(changes: dict[str, Any]) -> None:
    made = found(one(), one(**changes))
    assert (list(made.differences), list(made.untold)) == ([], [])


def test_calls_of_a_limited_generator_are_not_the_servers() -> None:
    limited = one(limit="client")
    for pair in ((limited, one()), (one(), limited)):
        made = found(*pair)
        assert figures(made) == {"p99", "server_cpu"}
        [untold] = made.untold
        assert (untold.figure, untold.why) == (
            "throughput",
            "in one of the runs the load generator was the limit",
        )


def test_times_of_an_overloaded_cell_are_not_compared() -> None:
    over = one(workload="echo-rate", rate=Rate(1000.0, 500.0, 7, overloaded=True))
    made = found(one(workload="echo-rate"), over)
    assert not made.differences
    assert why(made) == {"in one of the runs more calls came than were answered"}


def test_open_loops_are_compared_at_the_same_rate_only() -> None:
    usual = one(workload="echo-rate")
    assert figures(found(usual, one(workload="echo-rate", rate=Rate(1040.0, 1040.0, 0)))) == {
        "p50",
        "p99",
        "server_cpu",
    }
    made = found(usual, one(workload="echo-rate", rate=Rate(1100.0, 1100.0, 0)))
    assert not made.differences
    assert why(made) == {"calls came at other rates, 1,000/s and then 1,100/s"}


def searched(rates: list[float], objective: str = "p99 <= 20 ms") -> Report:
    opened = one(rates[-1], loop="open", rate=Rate(rates[-1] or 1.0, rates[-1], 0))
    searches = [
        Search("asyncio", "threading", STYLES[0], "io", number, objective, rate, None, [])
        for number, rate in enumerate(rates, 1)
    ]
    return report(opened, searches=searches)


def test_a_search_is_compared_by_the_rate_it_found() -> None:
    made = found(searched([1000.0, 1010.0, 1020.0]), searched([2000.0, 2010.0, 2020.0]))
    [change] = made.differences
    assert (change.figure, change.outcome) == ("throughput", "better")
    assert change.ratio == pytest.approx(2.0, rel=0.02)
    other = found(searched([1000.0, 1010.0]), searched([1000.0, 1010.0], "p50 <= 1 ms"))
    assert "throughput" not in figures(other)
    assert "the runs searched for other objectives" in why(other)
    none = found(searched([1000.0, 1010.0, 1000.0]), searched([1000.0, 0.0, 1000.0]))
    assert "throughput" not in figures(none)


def test_too_few_rounds_and_unsound_cells_are_named() -> None:
    assert "fewer than two rounds" in " ".join(why(found(one(), result("asyncio", "io", STYLES[0], [5.0]))))
    made = found(one(), one(errors=1))
    assert not made.differences
    assert [line for line in made.omitted() if "has errors" in line and "asyncio" in line]


def test_what_the_runs_differ_in_is_one_line() -> None:
    after = report(one(), environment=environment(python="3.12.1", packages={"pyzmq": "28"}, cpu_steps=1200))
    after.design.arrivals = "even"
    [remark] = found(report(one()), after).remarks
    assert remark == (
        "Not alike in the two runs: python 3.11.0, then 3.12.1; arrivals poisson, then even; "
        "cpu steps 1000, then 1200; pyzmq 27, then 28."
    )
    steps = report(one(), environment=environment(cpu_steps=1010))  # calibrated anew, and near enough
    assert not found(report(one()), steps).remarks


def test_a_run_that_cannot_be_trusted_proves_no_change_be_it_the_older_one() -> None:
    before = report(one())
    before.verdict = Verdict(["This run cannot be trusted."], trusted=False)
    made = found(before, one(500.0))
    assert {each.outcome for each in made.differences} == {"unclear"}
    assert not made.trusted
    text = "\n".join(line.text for line in changed(made))
    assert "The older run cannot be trusted" in text


def test_several_clients_have_names_of_their_own() -> None:
    pair = [one(cpu=Cpu()), one(client="asyncio", cpu=Cpu())]
    for each in pair:
        each.limit = "client"
    made = changes(report(*pair), report(*pair))
    [line] = [line for line in made.omitted() if line.startswith("Not compared: throughput")]
    assert "(asyncio; asyncio, asyncio client)" in line
