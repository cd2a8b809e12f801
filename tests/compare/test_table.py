"""The table's words and columns: what stands over a cell is true of it, and a row fits the
terminal.
"""

from __future__ import annotations

import re

import msgspec
import pytest
from ringback.compare.report.difference import changes
from ringback.compare.report.table import changed
from ringback.compare.results import (
    Check,
    Consistency,
    Latency,
    Rate,
    Report,
    Twin,
    Verdict,
)
from ringback.compare.statistics.figures import FIGURES, reliable
from samples import STYLES, cell, finished, printed, report, result, whole


def title(made: Report, workload: str) -> str:
    return next(line for line in printed(made).splitlines() if line.startswith(f"{workload}: "))


@pytest.mark.parametrize(
    ("figure", "texts"),
    [
        (
            "throughput",
            {
                0.00012: "0.000120",
                0.5: "0.500",
                12.34: "12.3",
                1234567: "1,234,567",
                0: "0",
                None: "-",
            },
        ),
        ("p50", {0.00012: "0.120", 0.5: "500", 12.34: "12,340", 1.2e-8: "0.0000120", None: "-"}),
        ("server_cpu", {0.00012: "120", 1.234e-6: "1.23", 1234.567e-6: "1,235", None: "-"}),
    ],
)
def test_a_figure_is_told_in_its_unit_with_three_digits_that_count(
    figure: str, texts: dict[float | None, str]
) -> None:
    assert {value: FIGURES[figure].text(value) for value in texts} == texts


def test_a_figure_has_its_unit_over_its_column_unless_its_name_says_it() -> None:
    titles = [FIGURES[name].title for name in ("throughput", "p99", "server_cpu")]
    assert titles == ["calls/s", "p99 time, ms", "server CPU time a call, us"]


def test_each_workload_says_how_its_own_calls_come() -> None:
    made = report(
        result("asyncio", "lone", STYLES[0], [5.0, 5.0], concurrency=1),
        result("asyncio", "io", STYLES[0], [5.0, 5.0]),
        result("asyncio", "echo-rate", STYLES[1], [1400.0, 1400.0]),
    )
    assert "(closed loop, 1 call in flight)" in title(made, "lone")
    assert "(closed loop, 64 calls in flight)" in title(made, "io")
    assert "(open loop, 1,400 calls/s)" in title(made, "echo-rate")


def test_a_run_that_cannot_be_trusted_has_no_signs_and_no_best() -> None:
    made = finished(report(*cell({"asyncio": 1000.0, "gevent": 800.0})))
    signs = (" * ", ") -", "best of its group")
    assert all(sign in printed(made) for sign in signs)
    made.verdict = Verdict(["This run cannot be trusted."], trusted=False)
    assert not [sign for sign in signs if sign in printed(made)]


def rows(made: Report, name: str) -> list[str]:
    return [line for line in printed(made).splitlines() if line.startswith(f"    {name} ")]


def test_the_others_stand_beside_the_best_and_never_it_beside_them() -> None:
    made = finished(
        report(*cell({"asyncio": 500.0, "gevent": 1000.0, "twisted": 1001.0}, noise=0.001))
    )
    [worse], [equal], [best] = (rows(made, name) for name in ("asyncio", "gevent", "twisted"))
    assert worse.split()[2].startswith("0.5")
    assert worse.split()[4] == "-"
    assert equal.split()[4] == "="
    assert best.split()[2] == "*"
    for other in (worse, equal):
        low, _, high = other.split()[3].strip("()").partition("..")
        assert float(low) <= float(other.split()[2]) <= float(high)


@pytest.mark.parametrize(("workload", "before"), [("io", ""), ("lone", "p50 "), ("echo", "CPU ")])
def test_what_is_compared_stands_before_the_ratio_unless_it_is_calls(
    workload: str, before: str
) -> None:
    # Of times and costs too, what is above 1 is better: the slower one has the half.
    made = finished(report(*cell({"asyncio": 1000.0, "gevent": 480.0}, workload, noise=0.001)))
    [row] = rows(made, "gevent")
    assert re.search(rf" {{2}}{before}0\.48 \(0\.4\d\.\.0\.\d\d\) -", row), row


def test_what_was_not_shown_has_a_question_mark() -> None:
    made = finished(report(*cell({"asyncio": 1000.0, "gevent": 960.0}, noise=0.2, seed=3)))
    [claim] = made.claims
    assert claim.verdict == "unclear"
    [row] = rows(made, claim.against)
    assert row.split()[4] == "?"


def test_claims_of_styles_are_none_of_arms() -> None:
    made = finished(report(*cell({"asyncio": 1000.0}), *cell({"asyncio": 3000.0}, "io", STYLES[1])))
    assert [each.of_styles for each in made.claims] == [True]
    for row in rows(made, "asyncio"):
        assert "3.0" not in row
        assert "*" not in row


def test_the_head_tells_of_the_control_and_of_the_checks() -> None:
    made = report(*cell({"asyncio": 1000.0}))
    assert printed(made).splitlines()[1] == "A/A control: none; checks: none"
    twin = Twin(figure="p50", ratio=1.0123, low=0.9, high=1.1, rounds=8, ok=True)
    made.twins, made.checks = [twin], [Check("control", True, "")]
    assert printed(made).splitlines()[1] == "A/A control: p50 1.012; checks: ok"
    made.checks.append(Check("replies", False, ""))
    assert printed(made).splitlines()[1] == "A/A control: p50 1.012; checks: failed: replies"


def test_the_verdict_stands_above_what_it_is_drawn_from() -> None:
    made = finished(report(*cell({"asyncio": 1000.0, "gevent": 800.0})))
    assert made.verdict.text
    for sentence in made.verdict.text:
        assert printed(made).index(sentence) < printed(made).index("io: waits 10 ms")


def test_errors_have_their_codes_and_wrong_replies_their_reason() -> None:
    bad = {"errors": 5, "errors_by_code": {"UNAVAILABLE": 4, "INTERNAL": 1}}
    found = result("asyncio", "io", STYLES[0], [5.0], **bad)
    assert "errors: 4 UNAVAILABLE, 1 INTERNAL" in printed(report(found))
    found = result("asyncio", "io", STYLES[0], [5.0], wrong=3, why="AssertionError: the sum")
    assert "wrong: AssertionError: the sum" in printed(report(found))


def test_other_libraries_are_there_once_whoever_else_calls() -> None:
    made = report(
        *(
            result("asyncio", "io", STYLES[0], [5.0], client=client)
            for client in ("threading", "asyncio")
        ),
        peers=[result("rpyc", "io", STYLES[0], [5.0], client="rpyc", peer=True)],
    )
    assert printed(finished(made)).count("(rpyc)") == 2  # its row, and what it does differently


def everything() -> Report:
    """Rows as wide as they get: with mistakes, with counts, with other libraries."""
    made = whole()
    made.results[9].errors = 1_234
    made.peers[0].errors = 7
    for way in ("counter", "counter-lock"):
        for each in cell({"asyncio": 1e6, "threading": 5e5}, way):
            each.consistency = Consistency(1_234_567, 56, 78)
            made.results.append(each)
    return made


@pytest.mark.parametrize("width", [80, 100, 120, 126, 200])
def test_rows_fit_the_terminal_and_nothing_in_them_is_cut(width: int) -> None:
    made = finished(everything())
    assert made.claims
    shown = printed(made, width)
    assert max(map(len, shown.splitlines())) <= width
    assert "…" not in shown
    for count in ("1,234,567", "1,234"):
        assert count in shown


def test_the_cost_goes_first_then_intervals_and_counts_are_below_their_table() -> None:
    made = everything()
    made.results = [each for each in made.results if each.workload.startswith("counter")]
    finished(made)
    seen = []
    for width in range(140, 78, -2):
        table = printed(made, width).partition("counter: ")[2].partition("counter-lock: ")[0]
        row = next(line for line in table.splitlines() if line.startswith("    threading "))
        below = "asyncio: 1,234,567 lost updates, 56 duplicated effects, 78 stale reads" in table
        seen.append(("server us" in table, ".." in row))
        assert below
    assert list(dict.fromkeys(seen)) == [(True, True), (False, True)]


def test_of_a_narrow_terminal_mistakes_are_never_left_out() -> None:
    made = finished(report(*cell({"asyncio": 1000.0, "gevent": 800.0})))
    assert "wrong" not in printed(made)  # what is 0 everywhere can be missed
    made.results[0].wrong = 7
    for width in (None, 90, 80):
        assert "wrong" in printed(made, width)


def test_a_pipe_has_every_sentence_in_one_line_and_a_terminal_none_that_is_too_long() -> None:
    made = finished(whole())
    [legend] = [
        line for line in printed(made).splitlines() if line.startswith("* best of its group")
    ]
    assert legend.endswith("the end that limits the figures.")
    made.verdict.text[:] = made.verdict.caveats[:] = []
    assert legend not in printed(made, 80)
    assert legend in " ".join(" ".join(printed(made, 80).splitlines()).split())


def test_what_changed_is_all_there_on_a_narrow_terminal() -> None:
    before, after = (
        [report(*cell({"asyncio": speed}, "echo", STYLES[1], seed=seed)) for seed in range(3)]
        for speed in (1000.0, 1300.0)
    )
    for width in (80, None):
        shown = printed(changed(changes(before, after)), width)
        assert "…" not in shown
        assert max(map(len, shown.splitlines())) <= (width or 200)
        for word in ("fire-and-callback:", "calls/s", "server CPU time a", "1.30 (", ") better"):
            assert word in shown


@pytest.mark.parametrize("name", ["a[bold]b", "a[/x]", ":smile:"])
def test_a_name_is_shown_as_it_is_whatever_it_looks_like(name: str) -> None:
    slow = result(
        "asyncio", "mixed", STYLES[0], [5.0], arm=name, methods={name: Latency(0.5), "b": Latency()}
    )
    assert printed(report(slow)).count(name) == 2


def test_ranks_of_too_few_calls_are_not_shown() -> None:
    all_of_them = Latency(1.0, 2.0, 3.0, 4.0, 5.0, 1.5)
    assert reliable(all_of_them, 20_000) == all_of_them
    assert reliable(all_of_them, 2_000) == Latency(1.0, 2.0, 3.0, None, 5.0, 1.5)
    assert reliable(all_of_them, 100) == Latency(1.0, None, None, None, 5.0, 1.5)


def test_what_is_worth_knowing_of_some_workloads_alone() -> None:
    made = report(
        result(
            "asyncio",
            "mixed",
            STYLES[0],
            [5.0],
            methods={"cpu": Latency(0.5), "echo": Latency(0.25)},
        ),
        result("asyncio", "stream", STYLES[0], [5.0]),
    )
    for word in ("of which cpu", "500 ", "of which echo", "250 ", "5,000 items/s"):
        assert word in printed(made)


def test_what_is_done_under_an_overload_stands_beside_what_can_be_done() -> None:
    pushed = result("asyncio", "overload", STYLES[1], [800.0, 800.0])
    pushed.rate = Rate(3000.0, 800.0, 0, False, 1000.0)
    assert "80% of its 1,000 calls/s in a closed loop" in printed(report(pushed))
    other = result("gevent", "overload", STYLES[1], [400.0, 410.0])
    other.rate = Rate(3000.0, 400.0, 0, False, 1000.0)
    for each in (pushed, other):
        each.rounds = [
            msgspec.structs.replace(each.rounds[0], round=number) for number in range(1, 5)
        ]
    assert {claim.figure for claim in finished(report(pushed, other)).claims} == {"throughput"}
