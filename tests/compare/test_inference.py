"""Intervals of means and ratios, and their correction: worked examples and properties."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ringback.compare.statistics import inference
from scipy import stats

SPEEDS = st.lists(st.floats(0.1, 1e6), min_size=2, max_size=12)


def test_an_interval_of_ratios_by_hand() -> None:
    # Logs of the ratios 0.9, 1.0, 1.1: mean -0.003350, sd 0.100377; t(0.975, 2) = 4.302653.
    found = inference.paired([90.0, 100.0, 110.0], [100.0, 100.0, 100.0])
    assert found.ratio == pytest.approx(0.996655, abs=1e-6)
    assert found.sd == pytest.approx(0.100377, abs=1e-6)
    half = 4.302653 * 0.100377 / math.sqrt(3)
    assert found.interval == pytest.approx((0.996655 * math.exp(-half), 0.996655 * math.exp(half)), rel=1e-4)


def test_welch_by_hand() -> None:
    # Logs 0, 0.2 and 1.0, 1.1, 1.2: variances of the means 0.01 and 0.01 / 3, so error 0.115470 and 1.68 degrees of freedom.
    before, after = [math.exp(x) for x in (0.0, 0.2)], [math.exp(x) for x in (1.0, 1.1, 1.2)]
    found = inference.welch(before, after)
    low, high = found.interval
    assert found.ratio == pytest.approx(math.e)
    assert math.log(high / found.ratio) == pytest.approx(math.log(found.ratio / low))
    freedom = (0.01 + 0.01 / 3) ** 2 / (0.01**2 + (0.01 / 3) ** 2 / 2)
    assert math.log(high / found.ratio) == pytest.approx(stats.t.ppf(0.975, freedom) * 0.115470, rel=1e-4)
    assert found.p == pytest.approx(2 * stats.t.sf(1.0 / 0.115470, freedom), rel=1e-4)
    theirs = stats.ttest_ind([1.0, 1.1, 1.2], [0.0, 0.2], equal_var=False)
    assert found.p == pytest.approx(theirs.pvalue)


def test_holm_by_hand() -> None:
    # Holm 1979: the smallest of n times n, the next times n - 1, and never less than the one before.
    assert inference.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert inference.holm([]) == []
    assert inference.holm([0.9, 0.8]) == [1.0, 1.0]


@given(st.lists(st.floats(1e-6, 1.0), min_size=1, max_size=20))
def test_an_interval_of_its_own_level_excludes_1_just_where_holm_rejects(ps: list[float]) -> None:
    adjusted, levels = inference.holm(ps), inference.levels(ps)
    for p, corrected, level in zip(ps, adjusted, levels, strict=True):
        if abs(corrected - 0.05) > 1e-9:
            assert (p <= (1 - level) * (1 + 1e-12)) == (corrected <= 0.05)
        assert corrected >= p


@given(SPEEDS, st.randoms(use_true_random=False))
def test_the_other_way_round_is_the_inverse(values: list[float], chance: random.Random) -> None:
    others = [value * chance.uniform(0.5, 2) for value in values]
    one, other = inference.paired(values, others), inference.paired(others, values)
    assert one.ratio == pytest.approx(1 / other.ratio)
    assert one.interval == pytest.approx((1 / other.interval[1], 1 / other.interval[0]))
    assert one.p == pytest.approx(other.p)


@given(SPEEDS, st.floats(0.01, 100))
def test_units_make_no_difference(values: list[float], unit: float) -> None:
    others = [value * 1.1 for value in reversed(values)]
    one = inference.paired(values, others)
    scaled = inference.paired([value * unit for value in values], [value * unit for value in others])
    assert scaled.ratio == pytest.approx(one.ratio)
    assert scaled.interval == pytest.approx(one.interval)


def test_rounds_that_do_not_scatter_leave_no_doubt() -> None:
    same = inference.paired([2.0, 2.0], [2.0, 2.0])
    assert (same.ratio, same.interval, same.p) == (1.0, (1.0, 1.0), 1.0)
    twice = inference.paired([4.0, 4.0], [2.0, 2.0])
    assert (twice.ratio, twice.p) == (pytest.approx(2.0), 0.0)


@pytest.mark.parametrize(
    ("values", "others"), [([1.0], [1.0]), ([1.0, 2.0], [1.0]), ([1.0, 0.0], [1.0, 1.0])]
)
def test_what_is_no_pairs_is_refused(values: list[float], others: list[float]) -> None:
    with pytest.raises(ValueError, match=r"pairs|positive"):
        inference.paired(values, others)


@pytest.mark.parametrize(
    ("ratio", "interval", "expected"),
    [
        (1.20, (1.10, 1.30), "better"),
        (0.80, (0.70, 0.90), "worse"),
        (1.01, (0.97, 1.04), "equal"),
        (1.03, (1.02, 1.04), "equal"),  # surely different, and too little to matter
        (1.04, (1.01, 1.08), "unclear"),  # surely different, perhaps too little
        (1.20, (0.90, 1.50), "unclear"),
    ],
)
def test_what_an_interval_amounts_to(ratio: float, interval: tuple[float, float], expected: str) -> None:
    assert inference.outcome(ratio, interval, 0.05, larger_is_better=True) == expected
    turned = {"better": "worse", "worse": "better"}.get(expected, expected)
    assert inference.outcome(ratio, interval, 0.05, larger_is_better=False) == turned


def test_an_interval_of_two_rounds_that_scatter_widely_has_ends() -> None:
    found = inference.paired([1.0, 8.0], [1.0, 1.0], 0.9999)
    low, high = found.interval
    assert 0 < low < 1e-300 < 1e300 < high < math.inf
