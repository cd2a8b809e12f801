"""From rounds to claims and words: what is claimed, what is not, and what the verdict says of it."""

from __future__ import annotations

import math
from typing import Any

import pytest
from msgspec.structs import replace
from ringback.compare.report.names import contests
from ringback.compare.report.verdict import verdict
from ringback.compare.results import (
    Claim,
    Consistency,
    Cpu,
    Latency,
    Little,
    Rate,
    Report,
    Result,
    Speed,
)
from ringback.compare.statistics.noise import ControlPair
from ringback.compare.workloads.table import WORKLOADS
from samples import STYLES, cell, environment, finished, printed, report, result


def analysed(*results: Result, controls: list[ControlPair] | None = None, **changes: Any) -> Report:
    return finished(report(*results, **changes), controls or [])


def outcomes(made: Report) -> dict[tuple[str, str], str]:
    return {(each.arm, each.against): each.verdict for each in made.claims if each.of_arms}


def figures(made: Report) -> set[str]:
    return {each.figure for each in made.claims}


def disturb(made: Result, *rounds: int, **changes: Any) -> None:
    """Little's law closes in these rounds no more."""
    changes["little"] = Little(0.9, False)
    made.rounds = [
        replace(each, **changes) if each.round in rounds else each for each in made.rounds
    ]


def limited(results: list[Result]) -> list[Result]:
    """By the load generator."""
    return [replace(each, limit="client") for each in results]


def opened(results: list[Result]) -> list[Result]:
    """With calls that come at a rate."""
    return [replace(each, loop="open", rate=Rate(100.0, 100.0, 0)) for each in results]


# What is claimed of arms


def test_all_pairs_are_claimed_and_the_best_comes_first() -> None:
    made = analysed(*cell({"asyncio": 1000.0, "gevent": 800.0, "twisted": 1010.0}, noise=0.003))
    assert outcomes(made) == {
        ("twisted", "asyncio"): "equal",
        ("twisted", "gevent"): "better",
        ("asyncio", "gevent"): "better",
    }
    assert [each.arm for each in made.claims] == ["twisted", "twisted", "asyncio"]
    for each in made.claims:
        assert each.low < each.ratio < each.high
        assert (each.workload, each.client, each.style) == ("io", "threading", STYLES[0])
        assert (each.figure, each.rounds, each.sure) == ("throughput", 8, True)
        assert (each.against_workload, each.against_style) == (each.workload, each.style)
        assert each.of_arms
        assert not each.of_styles
        assert not each.of_workloads
    ratios = {each.against: each.ratio for each in made.claims if each.arm == "twisted"}
    assert ratios == pytest.approx({"asyncio": 1.01, "gevent": 1010 / 800}, rel=0.01)
    assert all(made.interval.throughput for made in made.results)


def test_a_claim_turned_says_the_same_of_the_other() -> None:
    [claim] = analysed(*cell({"asyncio": 1000.0, "gevent": 800.0})).claims
    turned = claim.turned()
    assert (turned.arm, turned.against, turned.verdict) == ("gevent", "asyncio", "worse")
    assert turned.ratio == pytest.approx(1 / claim.ratio)
    assert turned.low < turned.ratio < turned.high < 1
    assert (turned.sure, turned.p, turned.detectable) == (claim.sure, claim.p, claim.detectable)
    again = turned.turned()
    assert again == replace(claim, ratio=again.ratio, low=again.low, high=again.high)


def test_arms_of_one_backend_are_told_apart() -> None:
    quick, slow = (
        replace(made, backend="asyncio", arm=f"asyncio workers={made.backend}")
        for made in cell({"64": 1000.0, "8": 800.0})
    )
    made = analysed(quick, slow)
    assert outcomes(made) == {("asyncio workers=64", "asyncio workers=8"): "better"}


def test_a_round_in_which_littles_law_is_off_is_not_compared() -> None:
    results = cell({"asyncio": 1000.0, "gevent": 800.0}, noise=0.001)
    usual = analysed(*results).claims[0].ratio
    # Of gevent, two rounds that would make it ten times as fast.
    disturb(results[1], 2, 5, throughput=8000.0)
    made = analysed(*results)
    [claim] = made.claims
    assert (claim.against, claim.verdict, claim.rounds) == ("gevent", "better", 6)
    assert claim.ratio == pytest.approx(usual, rel=0.01)
    low, high = results[1].interval.throughput or (0.0, 0.0)
    assert high / low < 1.1
    assert all(check.ok for check in made.checks)


def test_rounds_are_compared_that_are_good_of_all_arms() -> None:
    results = cell({"asyncio": 1000.0, "gevent": 800.0}, noise=0.001)
    disturb(results[0], 2)
    disturb(results[1], 3)
    [claim] = analysed(*results).claims
    assert (claim.rounds, claim.verdict) == (6, "better")


@pytest.mark.parametrize(("rounds", "claimed"), [(1, False), (3, False), (4, True)])
def test_with_fewer_than_four_rounds_nothing_is_claimed(rounds: int, claimed: bool) -> None:
    made = report(*cell({"asyncio": 1000.0, "gevent": 500.0}, rounds=rounds))
    made.design.rounds = rounds
    finished(made)
    assert bool(made.claims) == bool(made.verdict.text) == claimed
    assert made.verdict.trusted
    assert ("Fewer than 4 rounds support no claims" in " ".join(made.verdict.caveats)) != claimed


def test_rounds_that_are_not_good_do_not_count_towards_the_four() -> None:
    results = cell({"asyncio": 1000.0, "gevent": 500.0}, rounds=7)
    disturb(results[0], 1, 2, 3)
    assert len(analysed(*results).claims) == 1
    disturb(results[1], 7)
    assert analysed(*results).claims == []


def test_what_more_is_claimed_the_less_is_sure() -> None:
    close = cell({"asyncio": 1000.0, "gevent": 970.0}, noise=0.02, seed=5)
    [alone] = analysed(*close).claims
    assert (alone.verdict, alone.sure) == ("better", True)
    # So many others, of which nothing is known.
    others = [
        made
        for number in range(10)
        for made in cell({"asyncio": 1000.0, "gevent": 1001.0}, "io", noise=0.3, seed=number)
        for made in [replace(made, workload=f"other {number}")]
    ]
    [beside] = [each for each in analysed(*close, *others).claims if each.workload == "io"]
    assert (beside.verdict, beside.sure) == ("better", False)
    assert (beside.p, beside.ratio) == (alone.p, alone.ratio)


def test_claims_are_in_the_order_of_workloads_and_of_call_styles() -> None:
    kinds = [
        (workload, style) for workload in ("echo", "io", "cpu", "scenario") for style in STYLES
    ]
    speeds = {"asyncio": 1000.0, "gevent": 800.0}
    made = analysed(*(made for kind in reversed(kinds) for made in cell(speeds, *kind)))
    assert [(each.workload, each.style) for each in made.claims if each.of_arms] == kinds


# By what


FIGURE_OF = {
    "server_cpu": ("echo", "pooled", "payload-1k", "payload-64k", "payload-1m", "echo-rate"),
    "p50": ("lone",),
    "throughput": (
        "io",
        "io-async",
        "cpu",
        "mixed",
        "overload",
        "stream",
        "counter",
        "read",
        "scenario",
    ),
}


@pytest.mark.parametrize(
    ("workload", "figure"),
    [(each, figure) for figure, names in FIGURE_OF.items() for each in names],
)
def test_what_a_cell_is_compared_by_is_fixed_for_its_workload(workload: str, figure: str) -> None:
    results = cell({"asyncio": 1000.0, "gevent": 400.0}, workload)
    if workload in WORKLOADS and WORKLOADS[workload].open:
        results = opened(results)
    [claim] = analysed(*results).claims
    assert (claim.figure, claim.arm, claim.against, claim.verdict) == (
        figure,
        "asyncio",
        "gevent",
        "better",
    )
    # Of times and costs too, a ratio above 1 is better.
    assert claim.ratio == pytest.approx(2.5, rel=0.05)
    assert figures(analysed(*limited(results))) == {figure}


@pytest.mark.parametrize("workload", ["io", "cpu", "scenario", "echo"])
def test_calls_at_a_rate_are_compared_by_their_median_time(workload: str) -> None:
    results = opened(cell({"asyncio": 1000.0, "gevent": 800.0}, workload))
    assert figures(analysed(*results)) == {"p50"}


@pytest.mark.parametrize(
    ("slower", "expected"), [(1.9, "unclear"), (2.1, "better"), (1.001, "equal")]
)
def test_a_tail_is_claimed_from_twice_the_time_on(
    slower: float, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(WORKLOADS, "io", WORKLOADS["io"]._replace(figure="p99"))
    [claim] = analysed(
        *cell({"asyncio": 1000.0, "gevent": 1000.0 / slower}, "io", noise=0.002)
    ).claims
    assert (claim.figure, claim.verdict) == ("p99", expected)
    assert claim.ratio == pytest.approx(slower, rel=0.01)


def test_an_arm_that_lacks_the_figure_in_a_round_is_not_compared() -> None:
    results = cell({"asyncio": 1000.0, "gevent": 800.0, "twisted": 700.0}, "echo")
    results[1].rounds[3] = replace(results[1].rounds[3], cpu=Cpu())
    assert outcomes(analysed(*results)) == {("asyncio", "twisted"): "better"}


# What the load generator bounds


@pytest.mark.parametrize("workload", ["io", "lone"])
def test_what_the_client_bounds_is_better_than_what_it_beats_and_no_more_is_known(
    workload: str,
) -> None:
    speeds = {"asyncio": 1000.0, "gevent": 800.0, "twisted": 1001.0}
    results = cell(speeds, workload, noise=0.003)
    results[0].limit = "client"
    found = outcomes(analysed(*results))
    assert found == {
        ("twisted", "gevent"): "better",
        ("asyncio", "gevent"): "better",
        ("twisted", "asyncio"): "unclear",  # equal, if that were all that asyncio can do
    }
    results[0].limit, results[1].limit = "waiting", "client"
    made = analysed(*results)
    assert outcomes(made) == {
        ("twisted", "asyncio"): "equal",
        ("twisted", "gevent"): "unclear",  # gevent may do as much
        ("asyncio", "gevent"): "unclear",
    }
    assert not any(each.sure for each in made.claims if each.verdict == "unclear")


def test_what_calls_cost_the_server_is_compared_whatever_bounds_them() -> None:
    made = analysed(*limited(cell({"asyncio": 1000.0, "gevent": 800.0}, "echo")))
    assert outcomes(made) == {("asyncio", "gevent"): "better"}
    assert "the threading client was the limit, the servers can do at least" in made.verdict.text[0]


@pytest.mark.parametrize(
    "changes",
    [
        {"errors": 1},
        {"calls": 0},
        {"void": "Little's law is off"},
        {"loop": "open", "rate": Rate(100.0, 50.0, 7, overloaded=True)},
    ],
)
def test_what_is_not_sound_is_not_compared(changes: dict[str, object]) -> None:
    results = cell({"asyncio": 1000.0, "gevent": 800.0, "twisted": 700.0})
    made = analysed(results[0], replace(results[1], **changes), results[2])
    assert outcomes(made) == {("asyncio", "twisted"): "better"}


# The control, and other checks


def controls(
    workload: str = "io",
    noise: float = 0.0,
    cpu_noise: float = 0.0,
    ratio: float = 1.0,
    rounds: int = 8,
) -> list[ControlPair]:
    """Of calls/s and times that differ by so much, one way and the other, and of CPU time that
    does.
    """
    found = []
    for style in STYLES:
        for one in result("asyncio", workload, style, [100.0] * rounds).rounds:
            speed, cost = (1 + size * (-1) ** one.round for size in (noise, cpu_noise))
            changed = replace(one, throughput=100.0 * speed, p50=0.1 / speed, cpu=Cpu(cost))
            other = replace(one, throughput=100.0 / ratio, p50=0.1 * ratio, cpu=Cpu(1.0))
            found.append(ControlPair(workload, "threading", style, changed, other))
    return found


def failed(made: Report) -> list[str]:
    return [check.name for check in made.checks if not check.ok]


def test_the_control_is_an_arm_beside_itself() -> None:
    made = analysed(
        *cell({"asyncio": 1000.0, "gevent": 900.0}),
        controls=[each for each in controls(noise=0.2) if each.style == STYLES[0]],
    )
    [twin] = made.twins
    assert twin.ok
    assert (twin.figure, twin.rounds) == ("throughput", 8)
    assert twin.low < 1 < twin.high
    # It tells of itself alone: how arms scatter is known from their own rounds.
    assert outcomes(made) == {("asyncio", "gevent"): "better"}
    [check] = [check for check in made.checks if check.name == "control"]
    assert check.ok
    told = f"throughput {twin.ratio:.3f} ({twin.low:.3f}..{twin.high:.3f})"
    assert check.says == f"the same arm twice in 8 rounds: {told}"


def test_a_control_in_which_littles_law_is_off_does_not_count() -> None:
    spoilt = {"throughput": 1.0, "little": Little(0.9, False)}
    off = [
        each._replace(again=replace(each.again, **spoilt if each.own.round == 3 else {}))
        for each in controls(noise=0.01)
    ]
    [twin] = analysed(*cell({"asyncio": 1000.0, "gevent": 900.0}), controls=off).twins
    assert (twin.rounds, twin.ok) == (7, True)
    assert twin.high / twin.low < 1.1


def test_the_control_is_judged_by_the_figure_of_its_cell() -> None:
    results = [
        made
        for style in STYLES
        for made in cell({"asyncio": 1000.0, "gevent": 800.0}, "echo", style)
    ]
    # The client's own calls/s do not scatter at all, as they would not where all are given one
    # rate.
    made = analysed(*results, controls=controls("echo", noise=0.0, cpu_noise=0.3))
    [twin] = made.twins
    assert twin.figure == "server_cpu"
    assert twin.high / twin.low > 1.05


def test_a_control_has_each_figure_once_that_is_claimed_and_cells_of_a_round_are_one_value() -> (
    None
):
    results = [
        made
        for workload in ("io", "io-async", "lone")
        for style in STYLES[: 1 if workload == "lone" else 2]
        for made in cell({"asyncio": 1000.0, "gevent": 800.0}, workload, style)
    ]
    lone = [*controls("lone")[:8], *controls("lone", ratio=9.0)[8:]]
    pairs = [*controls("io", noise=0.1), *controls("io-async", noise=-0.1), *lone]
    made = analysed(*results, controls=pairs)
    found = {twin.figure: twin for twin in made.twins}
    assert found.keys() == {"throughput", "p50"}
    assert found["throughput"].rounds == 8
    # What one cell of a round has too much the other has too little.
    assert found["throughput"].high / found["throughput"].low < 1.02
    # Nothing is said of a cell that is not in the report.
    assert found["p50"].ratio == pytest.approx(1.0)


# Of differences +- 10 % in turns the error of the mean is 0.1 x sqrt(8 / 7) / sqrt(8): t is how far
# off they are, in those.
@pytest.mark.parametrize(("off", "ok"), [(0.15, True), (0.25, False)])
def test_the_control_refuses_what_chance_does_once_in_a_thousand_runs(off: float, ok: bool) -> None:
    """t(7) is 5.41 at p = 0.001: here 3.9 (p = 0.006) and 6.5 (p = 0.0003)."""
    made = analysed(
        *cell({"asyncio": 1000.0, "gevent": 500.0}), controls=controls(noise=0.1, ratio=1 + off)
    )
    assert [twin.ok for twin in made.twins] == [ok]
    assert bool(made.claims) == ok
    assert failed(made) == ([] if ok else ["control"])
    assert made.verdict.trusted == ok
    told = "This run cannot be trusted, so it makes no claims. control: the same arm twice"
    assert made.verdict.text[0].startswith(told) != ok
    assert ok or len(made.verdict.text) == 1


def test_a_wrong_reply_spoils_the_run() -> None:
    results = cell({"asyncio": 1000.0, "gevent": 500.0, "twisted": 700.0})
    results[2].wrong = 1
    made = analysed(*results)
    assert failed(made) == ["replies"]
    assert made.claims == []
    assert made.verdict.text[0].endswith(
        f" replies: 1 wrong of {sum(each.calls for each in results):,}."
    )


def test_a_run_of_which_more_than_half_is_void_claims_nothing() -> None:
    speeds = {"asyncio": 1000.0, "gevent": 500.0}
    results = [*cell(speeds), *cell(speeds, "cpu")]
    for each in results[2:]:
        each.void = "Little's law is off in 8 of 8 rounds: 0.9"
        disturb(each, *range(1, 9))
    made = analysed(*results)
    assert failed(made) == []
    assert {each.workload for each in made.claims} == {"io"}
    [check] = [check for check in made.checks if check.name == "Little's law"]
    assert check.says == "holds in 16 of 32 rounds of cells; void cells: 2"
    results[0].void = results[2].void
    assert failed(analysed(*results, *cell(speeds, "mixed"))) == []
    made = analysed(*results)
    assert failed(made) == ["Little's law"]
    assert made.claims == []


# Call styles


def styles(slow: dict[str, float], fast: dict[str, float]) -> list[Result]:
    """Of request-reply and fire-and-callback."""
    return [
        *cell(slow, "io", STYLES[0], noise=0.003),
        *cell(fast, "io", STYLES[1], noise=0.003, seed=2),
    ]


def of_styles(made: Report) -> list[Claim]:
    return [each for each in made.claims if each.of_styles]


def test_call_styles_are_compared_by_what_clients_get_done() -> None:
    slow = {"asyncio": 1000.0, "gevent": 1000.0, "twisted": 900.0}
    made = analysed(*styles(slow, {"asyncio": 3000.0, "gevent": 1000.0, "twisted": 700.0}))
    found = {each.arm: each for each in of_styles(made)}
    told = {name: each.verdict for name, each in found.items()}
    assert told == {"asyncio": "better", "gevent": "equal", "twisted": "worse"}
    assert found["asyncio"].ratio == pytest.approx(3.0, rel=0.01)
    for each in found.values():
        assert (each.style, each.against_style, each.figure) == (STYLES[1], STYLES[0], "throughput")
        assert each.against == each.arm
        assert each.low < each.ratio < each.high
    lead = "io by fire-and-callback, compared with request-reply (threading client)"
    [text] = [text for text in made.verdict.text if text.startswith(lead)]
    assert text.startswith(f"{lead}: more calls/s on asyncio 3.0")
    assert "; fewer calls/s on twisted 0.7" in text
    assert "; the same calls/s within the margin on gevent (sure)" in text


def test_styles_and_arms_are_corrected_together() -> None:
    results = styles({"asyncio": 1000.0, "gevent": 900.0}, {"asyncio": 3000.0, "gevent": 2700.0})
    both, [same] = analysed(*results), analysed(*results[:2]).claims
    [claim] = [each for each in both.claims if each.of_arms and each.style == STYLES[0]]
    assert len(both.claims) == 4
    assert claim.p == same.p
    assert claim.high / claim.low > same.high / same.low  # of four claims, and not the only one


def test_where_the_client_is_the_limit_its_styles_are_compared() -> None:
    slow, fast = ({"asyncio": speed, "gevent": speed} for speed in (1000.0, 1200.0))
    found = analysed(*limited(styles(slow, fast)))
    assert [each.verdict for each in of_styles(found)] == ["better", "better"]
    assert set(outcomes(found).values()) == {"unclear"}


def test_styles_with_other_numbers_of_calls_in_flight_or_at_a_rate_are_not_compared() -> None:
    slow, fast = styles({"asyncio": 1000.0}, {"asyncio": 3000.0})
    assert len(of_styles(analysed(slow, fast))) == 1
    assert of_styles(analysed(slow, replace(fast, concurrency=1))) == []
    assert analysed(*opened([slow, fast])).claims == []


# In words


def test_a_verdict_names_a_set_why_and_how_sure() -> None:
    made = analysed(
        *cell({"asyncio": 1000.0, "gevent": 800.0, "twisted": 1001.0}),
        *cell({"asyncio": 1.0, "gevent": 1.0}, "cpu"),
    )
    assert made.verdict.trusted
    told = {text.partition(":")[0]: text for text in made.verdict.text}
    found = contests(made)
    assert list(found) == ["io, request-reply", "cpu, request-reply"]
    for name, claims in found.items():
        assert claims == [each for each in made.claims if each.workload == name.partition(",")[0]]
    for cell_name, parts in (
        ("io, request-reply", ("asyncio or twisted; gevent does 20 % fewer calls/s (", "sure)")),
        ("cpu, request-reply", ("any of asyncio or gevent: equal within ", " in calls/s (sure)")),
        ("Sure", ("at 95% for all claims of this run together", "On 2 CPUs", "8 rounds")),
    ):
        assert told[cell_name].startswith(f"{cell_name}: {parts[0]}")
        assert all(part in told[cell_name] for part in parts)


@pytest.mark.parametrize(
    ("workload", "words"),
    [
        ("io", "gevent does 50 % fewer calls/s"),
        ("lone", "gevent takes 100 % longer at the median"),
        ("echo", "gevent takes 100 % more server CPU time a call"),
    ],
)
def test_a_verdict_tells_how_much_worse_by_the_figure(workload: str, words: str) -> None:
    made = analysed(*cell({"asyncio": 1000.0, "gevent": 500.0}, workload, noise=0.001))
    assert f"{workload}, request-reply: asyncio; {words} (" in made.verdict.text[0]


def test_a_verdict_names_what_is_worse_where_others_are_unclear() -> None:
    noisy = result("twisted", "io", STYLES[0], [960.0, 1040.0, 900.0, 1030.0] * 2)
    made = analysed(*cell({"asyncio": 1000.0, "gevent": 500.0}, noise=0.003), noisy)
    assert sorted(outcomes(made).values()) == ["better", "better", "unclear"]
    best = made.claims[0].arm
    [other] = {"asyncio", "twisted"} - {best}
    assert made.verdict.text[0].startswith(
        f"io, request-reply: {best}, perhaps {other}; gevent does "
    )


def test_a_verdict_says_what_is_left_open_and_how_long_it_takes_to_know() -> None:
    results = [*cell({"asyncio": 1000.0}, noise=0.1), *cell({"gevent": 1000.0}, noise=0.1, seed=2)]
    made = analysed(*results)
    [claim] = made.claims
    assert (claim.verdict, claim.sure) == ("unclear", False)
    assert claim.detectable > 0.1
    far = max(claim.high, 1 / claim.low) - 1
    told = f"io, request-reply: no significant difference in calls/s (below {far * 100:.0f} %)"
    assert verdict(made).text[0] == f"{told}."
    made.design.seconds = 60.0
    # Half-widths shrink as the root of the time, and are told in whole minutes.
    half = math.log(claim.high / claim.low) / 2
    minutes = math.ceil((half / math.log(1.1)) ** 2)
    assert half > math.log(1.1)
    assert verdict(made).text[0] == f"{told}; to detect 10 %: --time {minutes}m."


def test_answers_of_several_clients_name_them_and_none_takes_the_place_of_another() -> None:
    results = [
        replace(each, client=client)
        for workload, clients in (("io", ("threading", "raw")), ("cpu", ("raw",)))
        for client in clients
        for each in cell({"asyncio": 1000.0, "gevent": 800.0}, workload)
    ]
    assert list(contests(analysed(*results))) == [
        "io, request-reply, raw client",
        "io, request-reply, threading client",
        "cpu, request-reply, raw client",
    ]
    # Where each workload has one, it goes without saying.
    assert list(contests(analysed(*results[:2], *results[4:]))) == [
        "io, request-reply",
        "cpu, request-reply",
    ]


def caveats(made: Report) -> str:
    return " ".join(finished(made).verdict.caveats)


def test_caveats_say_what_is_wrong_with_a_run() -> None:
    results = cell({"asyncio": 1000.0, "gevent": 800.0, "twisted": 900.0})
    results[0].void = "Little's law is off"
    results[1].rate = Rate(100.0, 50.0, 7, overloaded=True)
    results[2] = replace(results[2], loop="open", limit="client", slip=Latency(p99=0.004))
    told = caveats(report(*results, environment=environment(quick=True), speed=Speed(0.6, 0.9)))
    for words in (
        "A quick run is only indicative",
        "Void: asyncio in io, request-reply, threading client: Little's law is off.",
        (
            "Overloaded: gevent in io, request-reply, threading client: 100 calls/s arrived, 50 were "
            "answered; 7 calls were never sent."
        ),
        (
            "Sent late: twisted in io, request-reply, threading client: the p99 of the delay is 4.00 "
            "ms."
        ),
        "This machine ran at 60% to 100% of its best speed (median 90%)",
    ):
        assert words in told
    assert "its best speed" not in caveats(report(*cell({"asyncio": 1.0}), speed=Speed(0.95, 0.99)))
    [lossy] = cell({"asyncio": 1.0})
    lossy.consistency = Consistency(lost_updates=1_234, stale_reads=1)
    what = "asyncio in io, request-reply, threading client"
    assert f"Inconsistent: {what}: 1,234 lost updates, 1 stale reads." in caveats(report(lossy))


@pytest.mark.parametrize(("workload", "figure"), [("io", "throughput"), ("lone", "p50")])
def test_rare_slow_slices_are_told_where_the_mean_says_other_than_the_median(
    workload: str, figure: str
) -> None:
    results = cell({"asyncio": 1000.0, "gevent": 800.0, "twisted": 790.0}, workload, noise=0.003)
    assert "Rare slow slices" not in caveats(report(*results))
    # Of all calls, those of a few slices took so long that asyncio is the slowest by far.
    results[0].throughput = 500.0
    results[0].latency = replace(results[0].latency, mean=11 / 500)
    made = finished(report(*results))
    told = [each for each in made.verdict.caveats if each.startswith("Rare slow slices")]
    assert told == [
        f"Rare slow slices: {workload}, request-reply: by the mean asyncio is {worse} % worse "
        f"than {other}, contrary to the median "
        "of slices."
        for other, worse in (("gevent", 38), ("twisted", 37))
    ]
    # What is claimed stands: it is by the median.
    assert outcomes(made)[("asyncio", "gevent")] == "better"
    assert figures(made) == {figure}


@pytest.mark.parametrize(("mean", "told"), [(780.0, False), (740.0, True)])
def test_a_mean_within_the_margin_contradicts_nothing(mean: float, told: bool) -> None:
    results = cell({"asyncio": 810.0, "gevent": 800.0}, noise=0.003)
    results[0].throughput, results[1].throughput = mean, 800.0
    assert ("Rare slow slices" in caveats(report(*results))) == told


def test_of_costs_there_is_no_median_to_contradict() -> None:
    results = cell({"asyncio": 1000.0, "gevent": 800.0}, "echo")
    results[0].throughput = 100.0
    assert "Rare slow slices" not in caveats(report(*results))


# Servers that work at once


def test_a_duet_claims_server_cpu_time_only_and_nothing_of_styles() -> None:
    results = [
        made
        for workload in ("io", "lone", "counter", "counter-lock")
        for style in STYLES
        for made in cell({"asyncio": 1000.0, "gevent": 800.0}, workload, style)
    ]
    alone = analysed(*results)
    assert figures(alone) == {"throughput", "p50"}
    assert any(each.of_styles for each in alone.claims)
    design = replace(alone.design, duet=True)
    duet = analysed(*results, design=design, controls=controls(cpu_noise=0.01))
    assert figures(duet) == {twin.figure for twin in duet.twins} == {"server_cpu"}
    assert not any(each.of_styles for each in duet.claims)
    # Arms, and ways to do a thing.
    assert {(each.of_arms, each.of_workloads) for each in duet.claims} == {
        (True, False),
        (False, True),
    }
    # What bounds calls/s bounds no cost.
    assert "better" in outcomes(analysed(*limited(results), design=design)).values()


# What was not measured


def test_a_report_without_results_names_what_was_not_measured() -> None:
    made = analysed(skipped=["gevent"])
    assert "Nothing was measured." in printed(made)
    assert "as the library is not installed: gevent" in printed(made)
    assert (made.claims, made.verdict.text) == ([], [])
