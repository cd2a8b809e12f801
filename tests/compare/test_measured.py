"""The windows of one cell: what Little's law allows, and what becomes of windows in which it is off."""

from __future__ import annotations

from array import array

import msgspec
import pytest
from ringback.compare.load.plan import REQUEST_REPLY, Load
from ringback.compare.load.sample import Sample, Timed
from ringback.compare.results import Consistency, Cpu, Memory, Waiting
from ringback.compare.run.measured import Measured
from ringback.compare.run.observe import Observed
from ringback.compare.run.pair import Window

LOAD = Load("cpu", REQUEST_REPLY, 64, 0.0, 0.5)


def window(inside: float = 1.0, residence: float = 0.064, calls: int = 500, whole: float = 1.0) -> Window:
    """One in which throughput x residence is `inside` x callers."""
    times = array("d", [0.1] * calls).tobytes()
    sample = Sample(
        calls=calls,
        errors={},
        wrong=0,
        timed=[Timed("cpu", bytes(8 * calls), bytes(8 * calls), times)],
        whole=whole,
        inside=inside,
        residence=residence,
    )
    seen = Observed(Cpu(1e-3, 1e-3, 0.99, 0.1), Waiting(), Memory(), "server", 0.0, 0.0, "")
    return Window(LOAD, 0.0, sample, seen)


def cell(*windows: Window) -> Measured:
    made = Measured("asyncio", "threading", windows[0], workers=64)
    for number, each in enumerate(windows, 1):
        made.add(number, 0.0, each, None)
    return made


@pytest.mark.parametrize(
    ("residence", "inside", "ok"),
    [
        (0.064, 1.15, True),  # 3 % and 64 ms of 500 ms
        (0.064, 1.16, False),
        (0.064, 0.84, False),
        (0.001, 1.03, True),
        (0.001, 1.04, False),
    ],
)
def test_a_window_may_be_off_by_the_mean_time_of_a_call(residence: float, inside: float, ok: bool) -> None:
    [made] = cell(window(inside, residence)).rounds
    assert made.little.ok is ok
    assert made.little.allowed == pytest.approx(0.03 + residence / 0.5)


def test_from_empty_to_empty_a_window_may_be_off_by_one_per_cent() -> None:
    assert [made.little.ok for made in cell(window(whole=1.009), window(whole=0.989)).rounds] == [True, False]


def test_a_round_in_which_littles_law_is_off_is_shown_and_does_not_count() -> None:
    good, bad = window(), window(inside=2.0, calls=9_000)
    result = cell(good, bad, good).result()
    assert [made.little.ok for made in result.rounds] == [True, False, True]
    assert (result.calls, result.seconds, result.throughput) == (1_000, 1.0, 1_000.0)
    assert result.void == ""
    assert [made.round for made in result.good] == [1, 3]


@pytest.mark.parametrize(
    ("good", "bad", "void"),
    [(8, 0, False), (1, 0, False), (4, 4, False), (3, 4, True), (1, 1, True), (0, 1, True), (2, 2, False)],
)
def test_a_cell_with_too_few_good_rounds_is_void(good: int, bad: int, void: bool) -> None:
    result = cell(*[window()] * good, *[window(inside=2.0)] * bad).result()
    assert bool(result.void) is void
    if void:
        assert result.void.startswith(f"Little's law is off in {bad} of {good + bad} windows")
        assert result.calls == 500 * (good + bad)


def test_what_the_checks_found_is_summed() -> None:
    found = [Consistency(lost_updates=2, stale_reads=1), Consistency(lost_updates=3)]
    windows = [
        each._replace(sample=msgspec.structs.replace(each.sample, consistency=one))
        for each, one in zip((window(), window()), found, strict=True)
    ]
    assert cell(*windows).result().consistency == Consistency(lost_updates=5, stale_reads=1)
    assert cell(window()).result().consistency is None
