"""Contrasts of arms: worked examples, properties, and what a run claims of simulated servers of
which the truth is known.
"""

from __future__ import annotations

import math
import random
from statistics import stdev

import machine
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from ringback.compare.statistics import inference
from ringback.compare.statistics.contrasts import (
    Contrast,
    Rule,
    contrasts,
    furthest,
    judge,
    turned,
)
from samples import holm
from scipy import stats

# Speeds of 2 to 5 arms in 2 to 8 rounds, that differ by a ten thousandth or not at all.
TABLES = st.tuples(st.integers(2, 5), st.integers(2, 8)).flatmap(
    lambda shape: st.lists(
        st.lists(st.integers(1_000, 10_000), min_size=shape[1], max_size=shape[1]),
        min_size=shape[0],
        max_size=shape[0],
    )
)
ANY = Rule(margin=0.0)


def named(table: list[list[int]]) -> dict[str, list[float]]:
    return {f"arm {number}": [float(value) for value in row] for number, row in enumerate(table)}


def of_logs(**logs: list[float]) -> dict[str, list[float]]:
    return {name: [math.exp(each) for each in row] for name, row in logs.items()}


def by_pair(found: list[Contrast]) -> dict[frozenset[str], Contrast]:
    return {frozenset((each.arm, each.against)): each for each in found}


def made(
    change: float, error: float = 0.01, freedom: float = 7, arms: int = 2, *, pooled: bool = True
) -> Contrast:
    """One of so large a change of the logarithm."""
    return Contrast("one", "other", change, error, freedom, arms, 8, pooled)


# By hand


def test_two_arms_are_the_paired_t_test() -> None:
    one, other = [812.0, 790.0, 845.0, 801.0, 833.0], [765.0, 771.0, 802.0, 744.0, 790.0]
    [found] = contrasts({"other": other, "one": one}, larger_is_better=True)
    theirs = stats.ttest_rel(np.log(one), np.log(other))
    assert (found.arm, found.against, found.arms, found.rounds) == ("one", "other", 2, 5)
    assert found.freedom == theirs.df == 4
    assert found.p == pytest.approx(theirs.pvalue)
    [judged] = judge([found], ANY)
    interval = theirs.confidence_interval(0.95)
    assert (judged.low, judged.high) == pytest.approx(
        (math.exp(interval.low), math.exp(interval.high))
    )
    assert judged.ratio == pytest.approx(math.exp(np.mean(np.log(one) - np.log(other))))
    assert (judged.outcome, judged.sure) == ("better", True)


# Three arms in three rounds that are 1, 2 and 3: beside those, a is 0.2, b 0.02 and c -0.22, give
# or take 0.03. The squares of what is left
# are six times 0.03^2, with (3 - 1) x (3 - 1) degrees of freedom: a variance of 0.00135, and an
# error of sqrt(2 x 0.00135 / 3) = 0.03.
THREE = of_logs(
    c=[1.0 - 0.22 - 0.03, 2.0 - 0.22, 3.0 - 0.22 + 0.03],
    a=[1.0 + 0.20 + 0.03, 2.0 + 0.20 - 0.03, 3.0 + 0.20],
    b=[1.0 + 0.02, 2.0 + 0.02 + 0.03, 3.0 + 0.02 - 0.03],
)


def test_three_arms_share_one_variance() -> None:
    found = contrasts(THREE, larger_is_better=True)
    assert [(each.arm, each.against) for each in found] == [("a", "b"), ("a", "c"), ("b", "c")]
    assert [each.change for each in found] == pytest.approx([0.18, 0.42, 0.24])
    for each in found:
        assert each.error == pytest.approx(0.03)
        assert (each.freedom, each.arms, each.rounds, each.pooled) == (4, 3, 3, True)
    assert [each.p for each in found] == pytest.approx(
        [2 * stats.t.sf(each, 4) for each in (6.0, 14.0, 8.0)]
    )


def test_each_sure_claim_has_the_level_of_its_step() -> None:
    # t of four degrees of freedom at 1 - 0.05 / 2 / (1, 2, 3), from tables: 2.7764, 3.4954, 3.9608.
    steps = {"ac": 3.9608, "bc": 3.4954, "ab": 2.7764}
    for each in judge(contrasts(THREE, larger_is_better=True), ANY):
        width = steps[each.contrast.arm + each.contrast.against] * 0.03
        assert (each.outcome, each.sure) == ("better", True)
        assert math.log(each.high) == pytest.approx(each.contrast.change + width, abs=1e-5)
        assert math.log(each.low) == pytest.approx(each.contrast.change - width, abs=1e-5)


def test_what_the_run_has_too_many_claims_for_is_likely_by_tukey_in_its_cell() -> None:
    # Its p is 0.0039: with 20 others, of which nothing is known, that is more than 0.05 / 21.
    others = [made(0.001, 0.1) for _ in range(20)]
    [close] = [each for each in contrasts(THREE, larger_is_better=True) if each.against == "b"]
    found = judge([close, *others], ANY)[0]
    assert (found.outcome, found.sure) == ("better", False)
    # The studentized range of three arms and four degrees of freedom, from tables: 5.040.
    width = 5.040 / math.sqrt(2) * 0.03
    assert math.log(found.high) == pytest.approx(0.18 + width, abs=1e-4)
    assert math.log(found.low) == pytest.approx(0.18 - width, abs=1e-4)
    assert judge([close], ANY)[0].sure


def test_arms_that_scatter_unlike_have_errors_of_their_own() -> None:
    logs = {
        "steady": [0.500, 0.501, 0.499, 0.500, 0.502],
        "steadier": [0.401, 0.400, 0.400, 0.402, 0.401],
        "wild": [0.0, 0.4, -0.3, 0.2, -0.4],
    }
    found = by_pair(contrasts(of_logs(**logs), larger_is_better=True))
    for pair, each in found.items():
        first, second = sorted(pair)
        own = [one - other for one, other in zip(logs[first], logs[second], strict=True)]
        assert not each.pooled
        assert each.freedom == 4
        assert each.error == pytest.approx(stdev(own) / math.sqrt(5))
        assert each.p == pytest.approx(stats.ttest_rel(logs[first], logs[second]).pvalue)
    quiet, loud = found[frozenset(("steady", "steadier"))], found[frozenset(("steady", "wild"))]
    assert loud.error > 50 * quiet.error
    # Without a variance in common there is no studentized range: the three pairs of the cell share
    # the 5 %.
    judged = judge([loud, *(made(0.0, 0.1) for _ in range(20))], ANY)[0]
    width = stats.t.ppf(1 - 0.05 / 2 / 3, 4) * loud.error
    assert math.log(judged.high) == pytest.approx(loud.change + width)
    alike = {name: row for name, row in logs.items() if name != "wild"}
    assert all(each.pooled for each in contrasts(of_logs(**alike), larger_is_better=True))


def test_rounds_that_do_not_scatter_leave_no_doubt() -> None:
    [same] = judge(contrasts({"a": [2.0] * 4, "b": [2.0] * 4}, larger_is_better=True), Rule())
    assert (same.ratio, same.low, same.high, same.outcome, same.contrast.p) == (
        1.0,
        1.0,
        1.0,
        "equal",
        1.0,
    )
    [twice] = judge(contrasts({"a": [4.0] * 4, "b": [2.0] * 4}, larger_is_better=True), Rule())
    assert (twice.ratio, twice.outcome, twice.sure) == (pytest.approx(2.0), "better", True)
    assert twice.contrast.p == 0.0


def test_two_rounds_that_scatter_widely_have_ends() -> None:
    values = {"a": [1e-9, 1e9], "b": [1.0, 1.0], "c": [1e9, 1e-9]}
    for each in judge(contrasts(values, larger_is_better=True), Rule(), 0.99999):
        assert 0 < each.low < 1e-300 < 1e300 < each.high < math.inf
        assert math.isfinite(each.detectable)
        assert each.outcome == "unclear"


def test_what_cannot_be_contrasted_is_refused_or_says_nothing() -> None:
    assert contrasts({}, larger_is_better=True) == []
    assert contrasts({"a": [1.0, 2.0]}, larger_is_better=True) == []
    assert contrasts({"a": [1.0], "b": [2.0]}, larger_is_better=True) == []
    with pytest.raises(ValueError, match="the same number of rounds"):
        contrasts({"a": [1.0, 2.0], "b": [1.0]}, larger_is_better=True)
    with pytest.raises(ValueError, match="positive"):
        contrasts({"a": [1.0, 2.0], "b": [1.0, 0.0]}, larger_is_better=True)
    assert judge([], Rule()) == []


# Properties


@given(TABLES)
def test_a_smaller_figure_is_better_just_where_a_larger_one_is_worse(
    table: list[list[int]],
) -> None:
    more, less = (
        by_pair(contrasts(named(table), larger_is_better=larger)) for larger in (True, False)
    )
    for pair, each in more.items():
        other = less[pair]
        change = other.change if other.arm == each.arm else -other.change
        assert change == pytest.approx(-each.change, abs=1e-12)
        assert other.error == pytest.approx(each.error, abs=1e-12)


# The studentized range takes its time, once for each shape.
@settings(deadline=None)
@given(
    st.floats(-2, 2),
    st.floats(0.001, 1),
    st.integers(2, 6),
    st.booleans(),
    st.sampled_from([1.0, 2.0]),
)
def test_the_other_way_round_is_the_inverse(
    change: float, error: float, arms: int, pooled: bool, least: float
) -> None:
    one = made(change, error, 7.0 * (arms - 1) if pooled else 7.0, arms, pooled=pooled)
    assert turned(turned(one)) == one
    rule = Rule(0.05, least)
    [found], [other] = judge([one], rule), judge([turned(one)], rule)
    assert other.ratio == pytest.approx(1 / found.ratio)
    assert (other.low, other.high) == pytest.approx((1 / found.high, 1 / found.low))
    assert other.outcome == {"better": "worse", "worse": "better"}.get(found.outcome, found.outcome)
    assert (other.sure, other.detectable) == (found.sure, found.detectable)
    assert turned(one).p == one.p


@given(
    TABLES,
    st.floats(0.001, 1000),
    st.lists(st.floats(0.1, 10), min_size=8, max_size=8),
    st.randoms(use_true_random=False),
)
def test_neither_units_nor_what_a_round_does_to_all_nor_the_order_make_a_difference(
    table: list[list[int]], unit: float, rounds: list[float], chance: random.Random
) -> None:
    values = named(table)
    names, places = list(values), list(range(len(table[0])))
    chance.shuffle(names)
    chance.shuffle(places)
    other = {
        name: [values[name][place] * unit * rounds[place] for place in places] for name in names
    }
    found, mixed = (by_pair(contrasts(each, larger_is_better=True)) for each in (values, other))
    assert found.keys() == mixed.keys()
    for pair, each in found.items():
        assume(each.pooled == mixed[pair].pooled)  # what lies just between is rounded either way
        assert abs(mixed[pair].change) == pytest.approx(abs(each.change), abs=1e-9)
        assert mixed[pair].error == pytest.approx(each.error, abs=1e-9)


@given(TABLES)
def test_all_pairs_are_there_and_in_each_the_better_comes_first(table: list[list[int]]) -> None:
    values = named(table)
    found = contrasts(values, larger_is_better=True)
    assert len(by_pair(found)) == len(found) == len(values) * (len(values) - 1) / 2
    means = {name: inference.mean(row) for name, row in values.items()}
    for each in found:
        assert each.change >= -1e-12
        assert math.exp(each.change) == pytest.approx(means[each.arm] / means[each.against])
    # That which no other is better than comes first of all.
    assert means[found[0].arm] == pytest.approx(max(means.values()))


@settings(deadline=None)
@given(
    st.lists(st.floats(0.0, 12.0), min_size=1, max_size=15),
    st.lists(st.floats(0.0, 12.0), max_size=15),
)
def test_what_is_sure_is_what_holm_rejects_and_more_claims_make_none_surer(
    ours: list[float], more: list[float]
) -> None:
    found = [made(0.01 * each) for each in ours]
    alone, together = judge(found, ANY), judge([*found, *(made(0.01 * each) for each in more)], ANY)
    for each, p in zip(alone, holm([each.p for each in found]), strict=True):
        if abs(p - 0.05) > 1e-9:
            assert each.sure == (p < 0.05)
    for before, after in zip(alone, together, strict=False):
        assert before.sure or not after.sure
        assert after.outcome == before.outcome  # at the level of its cell, whatever else is claimed


# What an interval amounts to


@pytest.mark.parametrize(
    ("ratio", "error", "expected"),
    [
        (1.20, 0.02, "better"),
        (0.80, 0.02, "worse"),
        (1.01, 0.01, "equal"),
        (1.03, 0.005, "equal"),  # surely different, and too little to matter
        (1.04, 0.01, "better"),  # surely different, perhaps too little to matter
        (1.20, 0.15, "unclear"),
        (1.01, 0.05, "unclear"),
    ],
)
def test_an_interval_in_words(ratio: float, error: float, expected: str) -> None:
    [found] = judge([made(math.log(ratio), error)], Rule(margin=0.05))
    assert found.outcome == expected


@pytest.mark.parametrize(
    ("ratio", "expected"),
    [(1.9, "unclear"), (2.1, "better"), (1 / 1.9, "unclear"), (1 / 2.1, "worse"), (1.001, "equal")],
)
def test_below_the_least_factor_nothing_is_claimed_but_that_it_is_equal(
    ratio: float, expected: str
) -> None:
    [found] = judge([made(math.log(ratio))], Rule(0.05, least=2.0))
    assert found.outcome == expected
    assert found.sure == (expected != "unclear")
    [usual] = judge([made(math.log(ratio))], Rule(0.05))
    assert usual.outcome != "unclear"


def test_each_claim_has_its_own_rule() -> None:
    found = judge([made(0.4), made(0.4)], [Rule(0.05, least=2.0), Rule(0.05)])
    assert [each.outcome for each in found] == ["unclear", "better"]
    with pytest.raises(ValueError, match="shorter"):
        judge([made(0.4), made(0.4)], [Rule()])


def test_the_furthest_that_an_interval_leaves_open_is_at_either_end() -> None:
    assert furthest(0.9, 1.05) == pytest.approx(1 / 0.9 - 1)
    assert furthest(0.99, 1.2) == pytest.approx(0.2)
    assert furthest(1.0, 1.0) == 0
    assert furthest(0.0, 1.0) == math.inf


# Of servers of which the truth is known


def test_the_smallest_difference_is_found_four_times_in_five() -> None:
    chance, error, rounds, arms, runs = np.random.default_rng(3), 0.02, 8, 4, 4000
    freedom = (arms - 1) * (rounds - 1)
    [judged] = judge([made(0.0, error, freedom, arms)], ANY)
    width = stats.studentized_range.ppf(0.95, arms, freedom) / math.sqrt(2)
    changes = math.log1p(judged.detectable) + error * chance.normal(size=runs)
    errors = error * np.sqrt(chance.chisquare(freedom, runs) / freedom)
    assert 0.77 < np.mean(changes > width * errors) < 0.84


def test_equal_arms_are_called_different_within_a_cell_in_one_run_of_twenty() -> None:
    # A true rate of 5 % is outside of these bounds once in 1,000 times. Rounds differ a lot, and
    # arms share that.
    chance, runs = np.random.default_rng(5), 500
    likely = sure = 0
    for _ in range(runs):
        logs = chance.normal(0, 0.03, (4, 6)) + chance.normal(0, 0.3, 6)
        arms = of_logs(**{str(arm): row.tolist() for arm, row in enumerate(logs)})
        found = judge(contrasts(arms, larger_is_better=True), ANY)
        likely += any(each.outcome == "better" for each in found)
        sure += any(each.outcome == "better" and each.sure for each in found)
    assert 0.018 < likely / runs < 0.083
    assert sure / runs < 0.083


@pytest.mark.parametrize(("rounds", "runs"), [(4, 500), (8, 250)])
def test_equal_servers_on_a_machine_of_two_speeds_are_surely_different_in_no_more_than_one_run_of_twenty(
    rounds: int, runs: int
) -> None:
    assert machine.false_claims(runs, rounds, 11) <= 0.05


def test_a_server_that_is_a_tenth_slower_is_found() -> None:
    assert machine.found(100, 8, 0.1, 12) >= 0.9
