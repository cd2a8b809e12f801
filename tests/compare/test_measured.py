"""The slices of one cell: what a round is made of them, and what becomes of rounds in which
Little's law is off.
"""

from __future__ import annotations

from array import array
from math import sqrt

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ringback.compare.load.plan import FIRE_AND_CALLBACK, REQUEST_REPLY, OfferedLoad
from ringback.compare.load.sample import Sample, Timed
from ringback.compare.results import Consistency, Cpu, Memory
from ringback.compare.run.measured import (
    Measured,
    beside,
    level_beside,
    median_time,
    rate,
    round_of,
    speed,
)
from ringback.compare.run.pair import Slice

LOAD = OfferedLoad("cpu", REQUEST_REPLY, 64, 0.0, 0.5)
USUAL = Cpu(1e-3, 1e-3, 0.99, 0.1)
# Calls/s, and the median of response times, of a slice as `window` makes it.
SPEED, TIME = 1_000.0, 0.1


def window(
    calls: int = 500,
    whole: float | None = 1.0,
    seconds: float = 0.5,
    cpu: Cpu = USUAL,
    load: OfferedLoad = LOAD,
    **changed: object,
) -> Slice:
    """One in which every call took as long."""
    times = array("d", [TIME] * calls).tobytes()
    sample = Sample(
        opened=0.0,
        answered=calls,
        seconds=seconds,
        calls=calls,
        errors={},
        wrong=0,
        timed=[Timed("cpu", bytes(8 * calls), bytes(8 * calls), times)],
        whole=whole,
        residence=TIME,
    )
    return Slice(load, msgspec.structs.replace(sample, **changed), cpu, Memory())


def cell(*rounds: list[Slice]) -> Measured:
    made = Measured("uv", "threading", rounds[0][0].load, 64, "asyncio")
    for number, windows in enumerate(rounds, 1):
        made.add(round_of(number, 0.0, windows), windows)
    return made


def test_a_round_is_all_its_slices_together() -> None:
    slices = [
        window(calls=100, seconds=0.2, cpu=Cpu(1e-3, 2e-3, 1.0, 0.2)),
        window(calls=300, seconds=0.6, cpu=Cpu(2e-3, 2e-3, 0.6, 0.4)),
    ]
    made = round_of(3, 1.23456, slices)
    assert (made.round, made.at, made.slices, made.calls) == (3, 1.235, 2, 400)
    assert made.throughput == pytest.approx(400 / 0.8)
    assert (made.p50, made.mean) == (TIME, pytest.approx(TIME))
    # By calls, and by time.
    assert made.cpu.server_per_call == pytest.approx((100 * 1e-3 + 300 * 2e-3) / 400)
    assert made.cpu.client_per_call == pytest.approx(2e-3)
    assert made.cpu.server_busy == pytest.approx((0.2 * 1.0 + 0.6 * 0.6) / 0.8)
    assert made.cpu.client_busy == pytest.approx((0.2 * 0.2 + 0.6 * 0.4) / 0.8)
    assert made.limit == "waiting"
    assert made.rate is None


def test_the_cpu_time_of_slices_without_an_answer_counts_too() -> None:
    none = window(calls=0, cpu=Cpu(0.3, 0.1, 0.99, 0.1))
    assert round_of(1, 0.0, [none, window(calls=100)]).cpu.server_per_call == pytest.approx(
        (0.3 + 0.1) / 100
    )


def test_figures_that_are_given_are_those_of_the_round() -> None:
    made = round_of(1, 0.0, [window()], throughput=7.0, p50=0.5)
    assert (made.throughput, made.p50, made.calls) == (7.0, 0.5, 500)


@pytest.mark.parametrize(
    ("calls", "p90", "p99"),
    [(99, None, None), (100, TIME, None), (999, TIME, None), (1000, TIME, TIME)],
)
def test_a_rank_of_a_round_has_ten_response_times_beyond_it(
    calls: int, p90: float | None, p99: float | None
) -> None:
    made = round_of(1, 0.0, [window(calls=calls)])
    assert (made.p90, made.p99) == (p90, p99)


def test_speed_and_time_are_from_the_first_call_to_the_last_reply() -> None:
    assert speed(window(calls=300, seconds=0.6)) == pytest.approx(500.0)
    assert median_time(window()) == TIME
    assert median_time(window(calls=0)) == 0.0


# Arms beside each other


def test_what_all_arms_suffer_together_is_nobodys_difference() -> None:
    level = (1.0, 0.5, 0.9)  # of the machine, unit by unit
    found = beside(
        [{"a": [100 * each, 100 * each], "b": [200 * each, 200 * each]} for each in level]
    )
    assert found["b"] / found["a"] == pytest.approx(2.0)
    common = (level[0] * level[1] * level[2]) ** (1 / 3)
    assert found["a"] == pytest.approx(100 * common)


def test_a_slice_that_a_neighbour_hit_moves_nobody() -> None:
    quiet = [{"a": [100.0, 100.0], "b": [200.0, 200.0]} for _ in range(5)]
    hit = [*quiet[:4], {"a": [100.0, 1.0], "b": [200.0, 200.0]}]
    found = beside(hit)
    assert found["b"] / found["a"] == pytest.approx(2.0)


def test_the_two_slices_of_a_unit_count_alike_so_that_a_drift_is_nobodys() -> None:
    # In mirrored order, each next slice is 10 % slower.
    a, b = (100 * 0.9**0, 100 * 0.9**3), (100 * 0.9**1, 100 * 0.9**2)
    found = beside([{"a": a, "b": b}])
    assert found["a"] == pytest.approx(found["b"]) == pytest.approx(100 * sqrt(0.9**3))


def test_an_arm_without_answers_in_a_unit_is_not_in_it() -> None:
    units = [{"a": [100.0], "b": [0.0]}, {"a": [100.0], "b": [200.0]}, {"a": [100.0], "b": []}]
    assert set(beside(units)) == {"a", "b"}
    assert beside([{"a": [100.0], "b": [0.0]}]) == {"a": pytest.approx(100.0)}
    assert beside([]) == beside([{"a": [0.0]}]) == level_beside([{}]) == {}


@given(
    st.lists(st.floats(-3, 3), min_size=3, max_size=8),
    st.dictionaries(st.sampled_from("abcd"), st.floats(-1, 1), min_size=2),
)
def test_ratios_between_arms_are_those_of_their_units(
    levels: list[float], arms: dict[str, float]
) -> None:
    found = level_beside([{arm: level + own for arm, own in arms.items()} for level in levels])
    first, *others = arms
    for other in others:
        assert found[other] / found[first] == pytest.approx(
            2.718281828459045 ** (arms[other] - arms[first])
        )


# Little's law


def test_from_empty_to_empty_a_slice_may_be_off_by_one_per_cent() -> None:
    made = cell(
        [window(whole=1.009)], [window(whole=0.989)], [window(whole=1.02)], [window(whole=None)]
    )
    assert [each.little.ok for each in made.rounds] == [True, False, False, True]
    assert made.rounds[-1].little.whole is None


def test_of_the_slices_of_a_round_the_median_is_what_littles_law_is_about() -> None:
    [made] = cell([window(whole=1.0), window(whole=2.0), window(whole=1.002)]).rounds
    assert (made.little.whole, made.little.ok) == (1.002, True)
    [made] = cell([window(whole=1.0), window(whole=2.0), window(whole=1.02)]).rounds
    assert (made.little.whole, made.little.ok) == (1.02, False)


def test_a_round_in_which_littles_law_is_off_is_shown_and_does_not_count() -> None:
    good, bad = [window()], [window(whole=2.0, calls=9_000)]
    result = cell(good, bad, good).result()
    assert [made.little.ok for made in result.rounds] == [True, False, True]
    assert (result.calls, result.seconds, result.throughput) == (1_000, 1.0, SPEED)
    assert result.void == ""
    assert [made.round for made in result.good] == [1, 3]


@pytest.mark.parametrize(
    ("good", "bad", "void"),
    [
        (8, 0, False),
        (1, 0, False),
        (4, 4, False),
        (3, 4, True),
        (1, 1, True),
        (0, 1, True),
        (2, 2, False),
    ],
)
def test_a_cell_with_too_few_good_rounds_is_void(good: int, bad: int, void: bool) -> None:
    result = cell(*[[window()]] * good, *[[window(whole=2.0)]] * bad).result()
    assert bool(result.void) is void
    if void:
        assert result.void.startswith(f"Little's law is off in {bad} of {good + bad} rounds")
        assert result.calls == 500 * (good + bad)


# Cells


def test_a_cell_has_all_slices_of_all_rounds_and_says_who_was_measured() -> None:
    result = cell([window(), window(calls=100, seconds=0.1)], [window()]).result()
    names = result.arm, result.backend, result.client, result.workload
    assert names == ("uv", "asyncio", "threading", "cpu")
    assert (result.calls, result.seconds) == (1_100, pytest.approx(1.1))
    assert [made.slices for made in result.rounds] == [2, 1]
    assert result.server_cpu == result.cpu.server_per_call == pytest.approx(1e-3)
    assert result.latency.p50 == TIME
    as_it_comes = Measured("asyncio", "threading", window().load, 64, "asyncio")
    assert (as_it_comes.arm, as_it_comes.backend) == ("asyncio", "asyncio")


def test_the_times_of_a_calibration_do_not_count_but_its_mistakes_do() -> None:
    made = cell([window()])
    made.count_errors(window(calls=9_000, errors={"UNAVAILABLE": 2}, wrong=1, why="it lied").sample)
    result = made.result()
    assert (result.calls, len(result.rounds)) == (500, 1)
    assert (result.errors, result.errors_by_code) == (2, {"UNAVAILABLE": 2})
    assert (result.wrong, result.why) == (1, "it lied")
    assert not result.sound


def test_what_the_checks_found_is_summed() -> None:
    found = [Consistency(lost_updates=2, stale_reads=1), Consistency(lost_updates=3)]
    windows, total = (
        [window(consistency=one) for one in found],
        Consistency(lost_updates=5, stale_reads=1),
    )
    assert cell(*([each] for each in windows)).result().consistency == total
    assert cell(windows).result().consistency == total
    assert cell([window()]).result().consistency is None


# Open loops

OPEN = OfferedLoad("echo", FIRE_AND_CALLBACK, 4, 0.0, 0.5, rate=1_000.0)


def test_a_rate_is_that_of_all_slices() -> None:
    found = rate(
        [window(load=OPEN, due=500, residence=1e-3), window(load=OPEN, due=300, calls=300)]
    )
    assert (found.offered, found.achieved, found.skipped, found.overloaded) == (
        800.0,
        800.0,
        0,
        False,
    )


@pytest.mark.parametrize(
    ("missing", "peak", "overloaded"),
    # 2 x 1,000/s x 2 ms are under way: the root of four, three times, and 1 % of 500.
    [(10, None, False), (12, None, True), (12, 300.0, False)],
)
def test_an_open_loop_is_overloaded_where_more_is_missing_than_chance_leaves(
    missing: int, peak: float | None, overloaded: bool
) -> None:
    load = OPEN._replace(peak=peak)
    found = rate(
        [window(load=load, calls=500 - missing, due=500, residence=2e-3 * 500 / (500 - missing))]
    )
    assert (found.overloaded, found.peak) == (overloaded, peak)


def late(by: float) -> Slice:
    """An open loop whose calls are sent so much later than due, and take 1 ms from then on."""
    due, sent, ended = (array("d", [at] * 100).tobytes() for at in (0.0, by, by + 1e-3))
    quick = Cpu(1e-3, 1e-3, 0.5, 0.5)
    return window(calls=100, load=OPEN, cpu=quick, due=100, timed=[Timed("echo", due, sent, ended)])


def test_a_client_that_sends_late_is_the_limit_of_an_open_loop() -> None:
    assert round_of(1, 0.0, [late(0.001)]).limit == "waiting"
    assert round_of(1, 0.0, [late(0.01)]).limit == "client"
