"""Intervals of means, and their correction: worked examples and properties."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ringback.compare.statistics import inference
from samples import holm

SPEEDS = st.lists(st.floats(0.1, 1e6), min_size=2, max_size=12)


def test_an_interval_of_a_mean_by_hand() -> None:
    # Logs of 0.9, 1.0, 1.1: mean -0.003350, sd 0.100377; t(0.975, 2) = 4.302653.
    half = 4.302653 * 0.100377 / math.sqrt(3)
    ends = (99.6655 * math.exp(-half), 99.6655 * math.exp(half))
    assert inference.interval([90.0, 100.0, 110.0]) == pytest.approx(ends, rel=1e-4)
    assert inference.mean([90.0, 100.0, 110.0]) == pytest.approx(99.6655, abs=1e-4)


@given(SPEEDS, st.floats(0.01, 100))
def test_units_make_no_difference_and_the_mean_is_within(values: list[float], unit: float) -> None:
    low, high = inference.interval(values) or (0.0, 0.0)
    assert low <= inference.mean(values) * (1 + 1e-9)
    assert inference.mean(values) <= high * (1 + 1e-9)
    assert inference.interval([value * unit for value in values]) == pytest.approx(
        (low * unit, high * unit)
    )


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], None),
        ([1.0], None),
        ([1.0, 0.0], None),
        ([2.0, 2.0], (pytest.approx(2.0), pytest.approx(2.0))),
    ],
)
def test_what_scatters_by_nothing_or_cannot_be_told_to(
    values: list[float], expected: tuple[float, float] | None
) -> None:
    assert inference.interval(values) == expected


def test_an_interval_of_two_rounds_that_scatter_widely_has_ends() -> None:
    low, high = inference.interval([1.0, 8.0], 0.9999) or (0.0, 0.0)
    assert 0 < low < 1e-300 < 1e300 < high < math.inf


@given(st.lists(st.floats(1e-6, 1.0), min_size=1, max_size=20))
def test_an_interval_of_its_own_level_excludes_1_just_where_holm_rejects(ps: list[float]) -> None:
    adjusted, levels = holm(ps), inference.levels(ps)
    for p, corrected, level in zip(ps, adjusted, levels, strict=True):
        if abs(corrected - 0.05) > 1e-9:
            assert (p <= (1 - level) * (1 + 1e-12)) == (corrected <= 0.05)
        assert corrected >= p
