"""The table's words and columns: what stands over a cell is true of it, and a row fits the terminal."""

from __future__ import annotations

import re

import msgspec
import pytest
from ringback.compare.report.table import lines
from ringback.compare.report.verdict import verdict
from ringback.compare.results import Check, Latency, Memory, Rate, Report, Result, Search, Twin, Verdict
from ringback.compare.statistics.analysis import analyse
from ringback.compare.statistics.figures import told
from samples import STYLES, cell, report, result, whole


def text(made: Report, width: int | None = None) -> str:
    return "\n".join(line.text for line in lines(made, width))


def analysed(*results: Result) -> Report:
    made = report(*results)
    analyse(made, [])
    return made


def title(made: Report, workload: str) -> str:
    return next(line for line in text(made).splitlines() if line.startswith(f"{workload}: "))


def test_each_workload_says_how_its_own_calls_come() -> None:
    made = report(
        result("asyncio", "lone", STYLES[0], [5.0, 5.0], concurrency=1),
        result("asyncio", "io", STYLES[0], [5.0, 5.0]),
        result("asyncio", "echo-rate", STYLES[1], [1400.0, 1400.0]),
    )
    assert "(closed loop, 1 call in flight)" in title(made, "lone")
    assert "(closed loop, 64 calls in flight)" in title(made, "io")
    assert "(open loop, 1,400 calls/s)" in title(made, "echo-rate")
    assert "Closed loop: " in text(made)
    assert "Open loop: " in text(made)
    only = report(result("asyncio", "io", STYLES[0], [5.0, 5.0]))
    assert "Open loop: " not in text(only)


def test_a_search_has_no_one_rate() -> None:
    made = report(
        result("asyncio", "io", STYLES[0], [5.0, 5.0], loop="open", rate=Rate(5.0, 5.0, 0)),
        searches=[Search("asyncio", "threading", STYLES[0], "io", 1, "p99 <= 1 ms", 5.0, None, [])],
    )
    assert "at the rates that were found" in title(made, "io")


def test_of_ones_own_service_it_does_not_say_where_echo_runs() -> None:
    assert "echo" not in text(report(result("asyncio", "scenario", STYLES[0], [5.0, 5.0])))
    assert "echo runs on the event loop" in text(report(result("asyncio", "io", STYLES[0], [5.0, 5.0])))


def test_a_run_that_cannot_be_trusted_has_no_signs_and_no_best() -> None:
    made = analysed(*cell({"asyncio": 1000.0, "gevent": 800.0}))
    signs = (" * ", ") -", "best of its group")
    assert all(sign in text(made) for sign in signs)
    made.verdict = Verdict(["This run cannot be trusted."], trusted=False)
    assert not [sign for sign in signs if sign in text(made)]


def rows(made: Report, name: str) -> list[str]:
    return [line for line in text(made).splitlines() if line.startswith(f"    {name} ")]


def test_the_others_stand_beside_the_best_and_never_it_beside_them() -> None:
    made = analysed(*cell({"asyncio": 500.0, "gevent": 1000.0, "twisted": 1001.0}, noise=0.001))
    [worse], [equal], [best] = (rows(made, name) for name in ("asyncio", "gevent", "twisted"))
    assert worse.split()[2].startswith("0.5")
    assert worse.split()[4] == "-"
    assert equal.split()[4] == "="
    assert best.split()[2] == "*"
    for other in (worse, equal):
        low, _, high = other.split()[3].strip("()").partition("..")
        assert float(low) <= float(other.split()[2]) <= float(high)


@pytest.mark.parametrize(
    ("workload", "before"), [("io", ""), ("lone", "p50 "), ("echo", "CPU "), ("balance", "p99 ")]
)
def test_what_is_compared_stands_before_the_ratio_unless_it_is_calls(workload: str, before: str) -> None:
    # Of times and costs too, what is above 1 is better: the slower one has the half.
    made = analysed(*cell({"asyncio": 1000.0, "gevent": 480.0}, workload, noise=0.001))
    [row] = rows(made, "gevent")
    assert re.search(rf" {{2}}{before}0\.48 \(0\.4\d\.\.0\.\d\d\) -", row), row


def test_what_was_not_shown_has_a_question_mark() -> None:
    made = analysed(*cell({"asyncio": 1000.0, "gevent": 960.0}, noise=0.2, seed=3))
    [claim] = made.claims
    assert claim.verdict == "unclear"
    [row] = rows(made, claim.against)
    assert row.split()[4] == "?"


def test_claims_of_styles_are_none_of_arms() -> None:
    made = analysed(*cell({"asyncio": 1000.0}), *cell({"asyncio": 3000.0}, "io", STYLES[1]))
    assert [each.of_styles for each in made.claims] == [True]
    for row in rows(made, "asyncio"):
        assert "3.0" not in row
        assert "*" not in row


def test_the_head_tells_of_the_control_and_of_the_checks() -> None:
    made = report(*cell({"asyncio": 1000.0}))
    assert text(made).splitlines()[1] == "an arm beside itself: none; checks: none"
    twin = Twin(
        workload="io",
        client="threading",
        style=STYLES[0],
        figure="p50",
        ratio=1.0123,
        low=0.9,
        high=1.1,
        rounds=8,
        ok=True,
    )
    made.twins, made.checks = [twin], [Check("control", True, "")]
    assert text(made).splitlines()[1] == "an arm beside itself: p50 1.012; checks: ok"
    made.checks.append(Check("replies", False, ""))
    assert text(made).splitlines()[1] == "an arm beside itself: p50 1.012; checks: failed: replies"


def test_the_verdict_stands_above_what_it_is_drawn_from() -> None:
    made = analysed(*cell({"asyncio": 1000.0, "gevent": 800.0}))
    made.verdict = verdict(made)
    told = text(made)
    assert made.verdict.text
    for sentence in made.verdict.text:
        assert told.index(sentence) < told.index("io: waits 10 ms")


def test_errors_have_their_codes_and_wrong_replies_their_reason() -> None:
    found = result(
        "asyncio", "io", STYLES[0], [5.0], errors=5, errors_by_code={"UNAVAILABLE": 4, "INTERNAL": 1}
    )
    assert "errors: 4 UNAVAILABLE, 1 INTERNAL" in text(report(found))
    found = result("asyncio", "io", STYLES[0], [5.0], wrong=3, why="AssertionError: the sum")
    assert "wrong: AssertionError: the sum" in text(report(found))


def test_other_libraries_are_there_once_whoever_else_calls() -> None:
    made = report(
        *(result("asyncio", "io", STYLES[0], [5.0], client=client) for client in ("threading", "asyncio")),
        peers=[result("rpyc", "io", STYLES[0], [5.0], client="rpyc", peer=True)],
    )
    assert text(made).count("(rpyc)") == 2  # its row, and what it does differently


@pytest.mark.parametrize("width", [80, 100, 120, 126, 200])
def test_rows_fit_the_terminal(width: int) -> None:
    made = whole()
    made.searches = []  # these are sentences, which are wrapped
    analyse(made, [])
    rows = [line for line in text(made, width).splitlines() if line.startswith("    ")]
    assert len(rows) > 20
    assert max(map(len, rows)) <= width


def test_a_terminal_breaks_sentences_where_it_ends_itself() -> None:
    made = report(*cell({"asyncio": 1000.0, "gevent": 800.0}))
    assert any("\n" in line.text for line in lines(made))
    assert not any("\n" in line.text for line in lines(made, 80))


def test_the_cost_goes_first_and_then_the_intervals_and_never_a_mistake() -> None:
    made = analysed(*cell({"asyncio": 1000.0, "gevent": 800.0}))
    made.results[0].wrong = 7
    wide, narrow, narrowest = (text(made, width) for width in (None, 90, 80))
    assert "server us" in wide
    assert "server us" not in narrow
    assert ".." in "".join(row for row in narrow.splitlines() if row.startswith("    gevent"))
    assert ".." not in "".join(row for row in narrowest.splitlines() if row.startswith("    gevent"))
    for made_text in (wide, narrow, narrowest):
        assert "wrong" in made_text


def test_ranks_of_too_few_calls_are_not_told() -> None:
    all_of_them = Latency(1.0, 2.0, 3.0, 4.0, 5.0, 1.5)
    assert told(all_of_them, 20_000) == all_of_them
    assert told(all_of_them, 2_000) == Latency(1.0, 2.0, 3.0, None, 5.0, 1.5)
    assert told(all_of_them, 100) == Latency(1.0, None, None, None, 5.0, 1.5)


def test_what_is_worth_knowing_of_some_workloads_alone() -> None:
    made = report(
        result("asyncio", "mixed", STYLES[0], [5.0], methods={"cpu": Latency(0.5), "echo": Latency(0.25)}),
        result("asyncio", "idle", STYLES[0], [5.0], memory=Memory(1, 1, 20_480.0)),
        result("asyncio", "stream", STYLES[0], [5.0]),
    )
    for word in ("of which cpu", "500.00", "of which echo", "250.00", "20.0 KiB", "5,000 items/s"):
        assert word in text(made)


def test_what_is_done_under_an_overload_stands_beside_what_can_be_done() -> None:
    pushed = result("asyncio", "overload", STYLES[1], [800.0, 800.0])
    pushed.rate = Rate(3000.0, 800.0, 0, False, 1000.0)
    assert "80% of the 1,000 calls/s that it does when callers wait" in text(report(pushed))
    other = result("gevent", "overload", STYLES[1], [400.0, 410.0])
    other.rate = Rate(3000.0, 400.0, 0, False, 1000.0)
    for each in (pushed, other):
        each.rounds = [msgspec.structs.replace(each.rounds[0], round=number) for number in range(1, 5)]
    assert {claim.figure for claim in analysed(pushed, other).claims} == {"throughput"}
