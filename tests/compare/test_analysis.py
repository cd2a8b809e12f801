"""From rounds to claims and words: what is claimed, what is not, and what the verdict says of it."""

from __future__ import annotations

import msgspec
import pytest
from ringback.compare.report.table import lines
from ringback.compare.report.verdict import verdict
from ringback.compare.results import Check, Consistency, Cpu, Little, Rate, Report
from ringback.compare.statistics import noise
from ringback.compare.statistics.analysis import analyse
from ringback.compare.statistics.noise import Doubled
from samples import STYLES, cell, environment, report, result, whole


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


def test_a_round_in_which_littles_law_is_off_is_not_compared() -> None:
    results = cell({"asyncio": 1000.0, "gevent": 800.0}, noise=0.001)
    made = report(*results)
    analyse(made, [])
    usual = made.comparisons[0].ratio
    # Of gevent, two rounds that would make it ten times as fast.
    results[1].rounds = [
        msgspec.structs.replace(each, throughput=each.throughput * 10, little=Little(1.0, 2.0, 0.03, False))
        if each.round in (2, 5)
        else each
        for each in results[1].rounds
    ]
    analyse(made, [])
    [claim] = made.comparisons
    assert (claim.backend, claim.outcome, claim.rounds) == ("gevent", "worse", 6)
    assert claim.ratio == pytest.approx(usual, rel=0.01)
    low, high = results[1].interval.throughput or (0.0, 0.0)
    assert high / low < 1.1


def test_a_twin_in_which_littles_law_is_off_is_no_noise() -> None:
    off = [
        each._replace(
            again=msgspec.structs.replace(each.again, throughput=1.0, little=Little(1.0, 2.0, 0.03, False))
        )
        if each.own.round == 3
        else each
        for each in twins(noise=0.01)
    ]
    made = report(*cell({"asyncio": 1000.0, "gevent": 900.0}))
    analyse(made, off)
    assert made.twin is not None
    assert made.twin.rounds == 7
    assert noise.floor(made.twin) < 0.05


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


def twins(
    workload: str = "io", noise: float = 0.0, cpu_noise: float = 0.0, ratio: float = 1.0
) -> list[Doubled]:
    """Of calls/s and times that differ by so much, one way and the other, and of CPU time that does."""
    found = []
    for style in STYLES:
        own, again = (
            result("asyncio", workload, style, [speed * 100.0] * 8).rounds for speed in (1.0, 1.0 / ratio)
        )
        for one, other in zip(own, again, strict=True):
            speed, cost = (1 + size * (-1) ** one.round for size in (noise, cpu_noise))
            changed = msgspec.structs.replace(
                one,
                throughput=one.throughput * speed,
                p50=(one.p50 or 0.0) / speed,
                cpu=Cpu(cost, 0.5, 0.4, 0.5),
            )
            found.append(
                Doubled(workload, "threading", style, changed, msgspec.structs.replace(other, cpu=Cpu(1.0)))
            )
    return found


def test_the_twin_is_the_noise_floor() -> None:
    made = report(*cell({"asyncio": 1000.0, "gevent": 900.0}))
    analyse(made, [each for each in twins(noise=0.2) if each.style == STYLES[0]])
    assert made.twin is not None
    assert made.twin.ok
    assert (made.twin.metric, made.twin.rounds, made.twin.style) == ("throughput", 8, "request-reply")
    assert outcomes(made) == {"gevent": "unclear"}  # less than a backend differs from itself


def test_a_twin_is_judged_by_the_figure_of_its_cell() -> None:
    results = [made for style in STYLES for made in cell({"asyncio": 1000.0, "gevent": 800.0}, "echo", style)]
    for made in results:
        made.ceiling_share = 0.9
    found = report(*results)
    # The client's own calls/s do not scatter at all, as they would not where all are given one rate.
    analyse(found, twins("echo", noise=0.0, cpu_noise=0.3))
    assert found.twin is not None
    assert (found.twin.metric, found.twin.style) == ("server_cpu", "fire-and-callback, request-reply")
    assert noise.floor(found.twin) > 0.05
    assert {each.metric for each in found.comparisons} == {"server_cpu"}
    assert {each.outcome for each in found.comparisons} == {"unclear"}


def test_the_noise_of_one_figure_is_no_floor_of_another() -> None:
    made = report(
        *cell({"asyncio": 1000.0, "gevent": 800.0}), *cell({"asyncio": 1000.0, "gevent": 800.0}, "lone")
    )
    analyse(made, [*twins("io"), *(each for each in twins("lone", noise=0.9) if each.style == STYLES[0])])
    assert {twin.metric for twin in made.twins} == {"throughput", "p50"}
    assert {(each.workload, each.outcome) for each in made.comparisons} == {
        ("io", "worse"),
        ("lone", "unclear"),
    }
    assert made.twin is not None
    assert made.twin.metric == "p50"  # the noisier one
    analyse(made, twins("io"))
    [floor] = [check for check in made.checks if check.name == "noise floor"]
    assert floor.says.endswith("; not known of p50")


def test_a_twin_of_several_clients_names_them() -> None:
    made = report(
        *cell({"asyncio": 1000.0}),
        *(msgspec.structs.replace(each, client="gevent") for each in cell({"asyncio": 1000.0})),
    )
    analyse(made, [each._replace(client=("gevent", "threading")[each.own.round % 2]) for each in twins()])
    assert made.twin is not None
    assert (made.twin.client, made.twin.rounds) == ("gevent, threading", 8)


def test_a_backend_that_differs_from_itself_spoils_the_run() -> None:
    made = report(*cell({"asyncio": 1000.0, "gevent": 500.0}))
    analyse(made, twins(ratio=1.3, noise=0.01))
    assert [check.name for check in made.checks if not check.ok] == ["noise floor"]
    made.verdict = verdict(made)
    assert not made.verdict.trusted
    [text] = made.verdict.text
    assert "cannot be trusted" in text
    assert "noise floor" in text
    assert made.verdict.winners == {}


@pytest.mark.parametrize("workload", ["echo-rate", "lone"])
def test_where_the_client_was_late_no_times_are_compared(workload: str) -> None:
    results = cell({"asyncio": 1000.0, "gevent": 800.0, "twisted": 900.0}, workload)
    results[2].limit = "client"
    made = report(*results)
    analyse(made, [])
    assert {claim.metric for claim in made.comparisons} == {"server_cpu"}


def test_a_searched_rate_that_the_client_bounds_is_not_compared() -> None:
    results = cell({"asyncio": 1000.0, "gevent": 800.0}, "echo-rate")
    made = whole()
    made.results = results
    analyse(made, [])
    assert {claim.metric for claim in made.comparisons} == {"throughput"}
    results[0].limit = "client"
    analyse(made, [])
    assert {claim.metric for claim in made.comparisons} == {"server_cpu"}


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


def styles(slow: dict[str, float], fast: dict[str, float], workload: str = "echo") -> Report:
    """A run of request-reply and fire-and-callback."""
    made = report(
        *cell(slow, workload, STYLES[0], noise=0.003), *cell(fast, workload, STYLES[1], noise=0.003, seed=2)
    )
    analyse(made, [])
    return made


def test_call_styles_are_compared_as_backends_are() -> None:
    made = styles(
        {"asyncio": 1000.0, "gevent": 1000.0, "twisted": 900.0},
        {"asyncio": 3000.0, "gevent": 1000.0, "twisted": 700.0},
    )
    found = {each.backend: each for each in made.styles}
    assert {name: each.outcome for name, each in found.items()} == {
        "asyncio": "better",
        "gevent": "equal",
        "twisted": "worse",
    }
    assert found["asyncio"].ratio == pytest.approx(3.0, rel=0.01)
    for each in made.styles:
        assert (each.style, each.than, each.metric) == (STYLES[1], STYLES[0], "throughput")
        assert each.interval[0] < each.ratio < each.interval[1]
    [text] = [text for text in verdict(made).text if text.startswith("Calls/s of ")]
    assert text.startswith(
        "Calls/s of echo by fire-and-callback, beside request-reply, threading client: more on asyncio "
    )
    assert "; fewer on twisted 0.7" in text
    assert "; as many within the margin on gevent" in text


def test_styles_and_backends_are_corrected_together() -> None:
    both = styles({"asyncio": 1000.0, "gevent": 900.0}, {"asyncio": 3000.0, "gevent": 2700.0})
    alone = report(*(made for made in both.results if made.style == STYLES[0]))
    analyse(alone, [])
    [claim] = [each for each in both.comparisons if each.style == STYLES[0]]
    [same] = alone.comparisons
    assert claim.p == same.p
    assert claim.p_holm > same.p_holm  # of four claims, and not the only one
    assert all(each.p_holm >= each.p for each in both.styles)


def test_where_the_client_is_the_limit_its_styles_have_a_noise_floor_too() -> None:
    results = [
        made
        for style, speed in zip(STYLES, (1000.0, 1200.0), strict=True)
        for made in cell({"asyncio": speed, "gevent": speed}, "echo", style, noise=0.003)
    ]
    for made in results:
        made.ceiling_share = 0.9
    found = report(*results)
    analyse(found, twins("echo", noise=0.5))
    assert {twin.metric for twin in found.twins} == {"server_cpu", "throughput"}
    assert {each.outcome for each in found.styles} == {"unclear"}
    analyse(found, twins("echo", noise=0.01))
    assert {each.outcome for each in found.styles} == {"better"}


def test_styles_of_an_open_loop_are_not_compared() -> None:
    made = report(
        *cell({"asyncio": 100.0}, "echo-rate", STYLES[0]), *cell({"asyncio": 300.0}, "echo-rate", STYLES[1])
    )
    analyse(made, [])
    assert made.styles == []


def test_a_run_that_cannot_be_trusted_claims_nothing() -> None:
    made = report(*cell({"asyncio": 1000.0, "gevent": 500.0}))
    for each in made.results:
        each.rounds = [msgspec.structs.replace(one, contaminated="other programs") for one in each.rounds]
    analyse(made, [])
    assert not all(check.ok for check in made.checks)
    assert outcomes(made) == {"gevent": "unclear"}


def test_a_verdict_names_what_is_worse_where_others_are_unclear() -> None:
    noisy = result("twisted", "io", STYLES[0], [960.0, 1040.0, 900.0, 1030.0] * 2)
    made = report(*cell({"asyncio": 1000.0, "gevent": 500.0}, noise=0.003), noisy)
    analyse(made, [])
    assert sorted(outcomes(made).values()) == ["unclear", "worse"]
    [text, *_] = verdict(made).text
    best = {each.best for each in made.comparisons}.pop()
    assert "(io, request-reply): not gevent, which has 0." in text
    assert "choose" not in text
    assert f"; beside {best}, " in text


def test_a_verdict_says_how_often_a_difference_would_have_been_shown() -> None:
    made = report(*cell({"asyncio": 1000.0}, noise=0.1), *cell({"gevent": 1000.0}, noise=0.1, seed=2))
    analyse(made, [])
    [claim] = made.comparisons
    assert claim.outcome == "unclear"
    told = f"one of {claim.detectable:.0%} would have been in four runs of five"
    assert told in verdict(made).text[0]


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
    [lossy] = cell({"asyncio": 1.0})
    lossy.consistency = Consistency(lost_updates=1_234, stale_reads=1)
    assert (
        "Inconsistent: asyncio in io, request-reply, threading client: 1,234 lost updates, 1 stale reads."
        in caveats(report(lossy))
    )


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
