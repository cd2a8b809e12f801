"""From rounds to claims and words: what is claimed, what is not, and what the verdict says of it."""

from __future__ import annotations

import msgspec
import pytest
from ringback.compare.analysis import analyse
from ringback.compare.results import Check, Rate, Report
from ringback.compare.table import lines
from ringback.compare.verdict import verdict
from samples import STYLES, cell, environment, report, result


def outcomes(made: Report) -> dict[str, str]:
    return {each.backend: each.outcome for each in made.comparisons}


def test_a_slower_backend_is_worse_than_the_best_and_an_equal_one_equal() -> None:
    made = report(*cell({"asyncio": 1000.0, "gevent": 800.0, "twisted": 1010.0}, noise=0.003))
    analyse(made, [])
    assert {each.best for each in made.comparisons} == {"twisted"}
    assert outcomes(made) == {"asyncio": "equal", "gevent": "worse"}
    for each in made.comparisons:
        assert each.interval[0] < each.ratio < each.interval[1]
        assert each.metric == "throughput"
        assert each.p <= each.p_holm
    assert all(made.interval.throughput for made in made.results)


def test_noise_makes_it_unclear() -> None:
    made = report(*cell({"asyncio": 1000.0, "gevent": 900.0}, noise=0.3))
    analyse(made, [])
    [claim] = made.comparisons
    assert claim.outcome == "unclear"
    assert claim.detectable > 0.1


@pytest.mark.parametrize(
    ("workload", "metric"), [("echo", "throughput"), ("lone", "p50"), ("echo-rate", "p99")]
)
def test_what_a_cell_is_compared_by_is_its_question(workload: str, metric: str) -> None:
    made = report(*cell({"asyncio": 1000.0, "gevent": 800.0}, workload))
    analyse(made, [])
    [claim] = made.comparisons
    assert (claim.metric, claim.backend, claim.best, claim.outcome) == (metric, "gevent", "asyncio", "worse")


def test_where_the_client_is_the_limit_the_cost_is_compared_and_not_the_calls() -> None:
    results = cell({"asyncio": 1000.0, "gevent": 800.0})
    results[0].ceiling_share = 0.9
    made = report(*results)
    analyse(made, [])
    assert [claim.metric for claim in made.comparisons] == ["server_cpu"]
    made.verdict = verdict(made)
    assert "the threading client was the limit" in " ".join(made.verdict.text)


@pytest.mark.parametrize(
    "changes",
    [
        {"errors": 1},
        {"wrong": 1},
        {"void": "Little's law is off"},
        {"loop": "open", "rate": Rate(100.0, 50.0, 7, overloaded=True)},
    ],
)
def test_what_is_not_sound_is_not_compared(changes: dict[str, object]) -> None:
    results = cell({"asyncio": 1000.0, "gevent": 800.0, "twisted": 700.0})
    results[1] = msgspec.structs.replace(results[1], **changes)
    made = report(*results)
    analyse(made, [])
    assert "gevent" not in {name for claim in made.comparisons for name in (claim.backend, claim.best)}


def test_what_hangs_on_disturbed_rounds_is_unclear() -> None:
    def made(disturb: bool) -> Report:
        fast = result(
            "asyncio", "io", STYLES[0], [1000.0, 1001.0, 1002.0, 1003.0, 1400.0, 1400.0, 1400.0, 1400.0]
        )
        slow = result("gevent", "io", STYLES[0], [1000.0, 1000.0, 1000.0, 1000.0, 800.0, 800.0, 800.0, 800.0])
        if disturb:
            slow.rounds = [
                msgspec.structs.replace(each, contaminated="something else ran") if each.round > 4 else each
                for each in slow.rounds
            ]
        found = report(fast, slow)
        analyse(found, [])
        return found

    assert outcomes(made(False)) == {"gevent": "worse"} or made(False).comparisons[0].p < 0.05
    assert outcomes(made(True)) == {"gevent": "unclear"}


def twins(ratio: float, noise: float = 0.01) -> list[tuple[str, str, str, int, float, float]]:
    return [
        ("echo", "threading", style, number, 100.0 * ratio * (1 + noise * (-1) ** number), 100.0)
        for number in range(1, 9)
        for style in STYLES
    ]


def test_the_twin_is_the_noise_floor() -> None:
    made = report(*cell({"asyncio": 1000.0, "gevent": 900.0}))
    analyse(made, twins(1.0, noise=0.2))
    assert made.twin is not None
    assert made.twin.ok
    assert (made.twin.rounds, made.twin.style) == (8, "fire-and-callback, request-reply")
    assert outcomes(made) == {"gevent": "unclear"}  # less than a backend differs from itself


def test_a_backend_that_differs_from_itself_spoils_the_run() -> None:
    made = report(*cell({"asyncio": 1000.0, "gevent": 500.0}))
    analyse(made, twins(1.3))
    assert [check.name for check in made.checks if not check.ok] == ["noise floor"]
    made.verdict = verdict(made)
    assert not made.verdict.trusted
    [text] = made.verdict.text
    assert "cannot be trusted" in text
    assert "noise floor" in text
    assert made.verdict.winners == {}


def test_a_verdict_names_a_set_why_and_how_sure() -> None:
    made = report(
        *cell({"asyncio": 1000.0, "gevent": 800.0, "twisted": 1001.0}),
        *cell({"asyncio": 1.0, "gevent": 1.0}, "cpu"),
    )
    analyse(made, [])
    found = verdict(made)
    assert found.winners["io, request-reply"] == ["asyncio", "twisted"]
    io, cpu, condition = found.text[:3]
    assert io.startswith(
        "For handlers that wait (io, request-reply): choose asyncio or twisted; gevent has 0.8"
    )
    assert "asyncio and twisted are equal" in io
    assert "any; asyncio and gevent are equal within 5%" in cpu
    assert condition.startswith("Sure at 95%")
    assert "on 2 CPUs" in condition


def test_call_styles_are_compared_by_their_factor() -> None:
    made = report(
        *cell({"asyncio": 1000.0}, "echo", STYLES[0]), *cell({"asyncio": 3000.0}, "echo", STYLES[1])
    )
    analyse(made, [])
    assert "3.0 times as many calls/s by fire-and-callback" in " ".join(verdict(made).text)


def caveats(made: Report) -> str:
    analyse(made, [])
    return " ".join(verdict(made).caveats)


def test_caveats_say_what_is_wrong_with_a_run() -> None:
    results = cell({"asyncio": 1000.0, "gevent": 800.0})
    results[0].void = "Little's law is off"
    results[1].rate = Rate(100.0, 50.0, 7, overloaded=True)
    for made in results:
        made.rounds = [msgspec.structs.replace(each, contaminated="x", steady=False) for each in made.rounds]
    told = caveats(report(*results, environment=environment(quick=True, load_before=[1.9, 0.0, 0.0])))
    for word in (
        "indicative",
        "Void: asyncio",
        "Overloaded: gevent",
        "7 never sent",
        "Noisy: 16 of 16",
        "Not steady",
        "load was",
    ):
        assert word in told
    assert caveats(report(*cell({"asyncio": 1.0, "gevent": 1.0}))) == ""


def shown(made: Report) -> list[list[str]]:
    return [line.text.split() for line in lines(made) if line.text.startswith("    ")]


def test_the_table_has_a_row_for_each_backend_with_what_is_claimed_of_it() -> None:
    made = report(
        *cell({"asyncio": 1000.0, "gevent": 800.0}), result("asyncio", "cpu", STYLES[0], [5.0, 5.0], wrong=3)
    )
    analyse(made, [])
    best, other, alone = shown(made)
    assert (best[0], best[2]) == ("asyncio", "*")
    assert (other[0], other[4]) == ("gevent", "-")
    assert alone[-1] == "3"


def test_the_table_names_what_was_not_measured() -> None:
    made = report(skipped=["gevent"])
    analyse(made, [])
    text = "\n".join(line.text for line in lines(made))
    assert "Nothing was measured." in text
    assert "for want of the library: gevent" in text


def test_a_check_that_failed_is_in_the_head_of_the_table() -> None:
    made = report(*cell({"asyncio": 1.0, "gevent": 1.0}), checks=[Check("Little's law", False, "off")])
    assert "failed: Little's law" in "\n".join(line.text for line in lines(made))
