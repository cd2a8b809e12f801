"""Which servers are fit."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ringback import errors
from ringback.balancing import Ejection, Load
from ringback.balancing.outliers import (
    ASK_AFTER,
    AT_FIRST,
    LOOK,
    NEVER,
    SILENT_AFTER,
    SLOW_START,
    Health,
    HealthCondition,
    Outliers,
    ejection_of,
)

FIT, OUT, TRIED, SILENT = (
    HealthCondition.FIT,
    HealthCondition.OUT,
    HealthCondition.TRIED,
    HealthCondition.SILENT,
)


class Watch:
    """Some servers that have been there for long, and what one client sees of them."""

    def __init__(self, count: int = 4, **ejection: float) -> None:
        self.outliers = Outliers(Ejection(**ejection))
        self.all = [Health(Load(f"tcp://host:{n}")) for n in range(count)]
        self.first = self.all[0]

    def fail(
        self, health: Health | None = None, times: int = 1, now: float = 0.0, tried: bool = False
    ) -> None:
        for _ in range(times):
            self.outliers.failed(health or self.first, self.all, now, tried=tried)

    def answer(self, seconds: float, *healths: Health, times: int = 10) -> None:
        for health in healths:
            for _ in range(times):
                health.load.answered(seconds, 0.0)

    def look(self, now: float) -> tuple[list[Health], list[Health]]:
        return self.outliers.look(self.all, now)

    @property
    def conditions(self) -> list[HealthCondition]:
        return [health.condition for health in self.all]


def out(**ejection: float) -> Watch:
    """The first of four is out since time 0, for a second."""
    watch = Watch(**ejection)
    watch.fail(times=5)
    assert watch.conditions == [OUT, FIT, FIT, FIT]
    return watch


# Failures


def test_where_calls_fail_wherever_they_go_nobody_is_out():
    watch = Watch(4)
    for time in range(50):
        for health in watch.all:
            watch.outliers.failed(health, watch.all, float(time))
    assert watch.conditions == [FIT] * 4


def test_a_server_is_out_after_five_failures_in_a_row():
    watch = Watch()
    watch.fail(times=4)
    assert watch.conditions == [FIT] * 4
    watch.fail()
    assert watch.conditions == [OUT, FIT, FIT, FIT]
    assert watch.outliers.changed


def test_an_answer_in_between_begins_the_row_anew():
    watch = Watch()
    watch.fail(times=4)
    watch.answer(0.1, watch.first, times=1)
    watch.fail(times=4)
    assert watch.conditions == [FIT] * 4


@pytest.mark.parametrize("count", range(1, 8))
def test_where_all_fail_at_most_half_is_out(count):
    watch = Watch(count)
    for health in watch.all:
        watch.fail(health, times=20)
    assert watch.conditions.count(OUT) == count // 2


def test_of_one_server_alone_nothing_is_out():
    watch = Watch(1)
    watch.fail(times=100)
    assert watch.conditions == [FIT]


def test_failures_never_count_where_they_are_not_to():
    watch = Watch(failures=0)
    watch.fail(times=100)
    assert watch.conditions == [FIT] * 4


# Slowness


def slow(seconds: float, times: int = 10, **ejection: float) -> Watch:
    watch = Watch(**ejection)
    watch.answer(0.1, *watch.all[1:])
    watch.answer(seconds, watch.first, times=times)
    watch.look(1.0)
    return watch


def test_a_server_that_is_more_than_five_times_as_slow_as_the_others_is_out():
    assert slow(0.51).conditions == [OUT, FIT, FIT, FIT]
    assert slow(0.5).conditions == [FIT] * 4


def test_what_is_slow_for_once_is_no_slow_server():
    watch = Watch()
    watch.answer(0.1, *watch.all)
    watch.answer(9.0, watch.first, times=20)
    watch.answer(0.1, watch.first, times=8)
    watch.look(1.0)
    assert watch.conditions == [FIT] * 4


def test_a_few_answers_are_not_enough():
    assert slow(9.0, times=9).conditions == [FIT] * 4


def test_where_the_others_are_not_known_none_is_slow():
    watch = Watch()
    watch.answer(9.0, watch.first)
    watch.look(1.0)
    assert watch.conditions == [FIT] * 4


def test_slowness_never_counts_where_it_is_not_to():
    assert slow(9.0, slowness=0).conditions == [FIT] * 4


def test_where_half_are_slow_at_most_half_is_out():
    watch = Watch()
    watch.answer(0.1, *watch.all[2:])
    watch.answer(9.0, *watch.all[:2])
    watch.look(1.0)
    assert watch.conditions.count(OUT) <= 2


# Tried


def test_it_is_tried_when_its_time_is_over():
    watch = out()
    assert [watch.outliers.due(watch.first, now) for now in (0.0, 0.99, 1.0)] == [
        False,
        False,
        True,
    ]


def test_what_is_tried_is_not_tried_with_another_call():
    watch = out()
    watch.outliers.tried(watch.first)
    assert watch.first.condition is TRIED
    assert not watch.outliers.due(watch.first, 100.0)


def test_it_is_fit_when_the_call_that_tried_it_was_answered():
    watch = out()
    watch.outliers.tried(watch.first)
    watch.outliers.went_well(watch.first, 0.1, watch.all, 2.0)
    assert watch.first.condition is FIT


def test_it_is_out_for_twice_as_long_when_that_failed():
    watch = out()
    for now, seconds in (
        (1.0, 2.0),
        (3.0, 4.0),
        (7.0, 8.0),
        (15.0, 16.0),
        (31.0, 30.0),
        (61.0, 30.0),
    ):
        watch.outliers.tried(watch.first)
        watch.fail(now=now, tried=True)
        assert (watch.first.condition, watch.first.until) == (OUT, now + seconds)


def test_the_failure_of_an_older_call_does_not_end_the_try():
    watch = out()
    watch.outliers.tried(watch.first)
    watch.fail(times=20)
    assert watch.first.condition is TRIED


def test_a_server_may_be_sick_for_years():
    watch = out()
    for now in range(3000):
        watch.outliers.tried(watch.first)
        watch.fail(now=float(now), tried=True)
    assert watch.first.until == 2999.0 + 30.0


def test_it_is_out_again_when_the_call_that_tried_it_was_as_slow_as_before():
    watch = out()
    watch.answer(0.1, *watch.all[1:])
    watch.outliers.tried(watch.first)
    watch.outliers.went_well(watch.first, 0.6, watch.all, 2.0)
    assert (watch.first.condition, watch.first.until) == (OUT, 4.0)


def test_how_long_the_call_took_that_tried_it_may_tell_nothing():
    watch = out()
    watch.answer(0.1, *watch.all[1:])
    watch.outliers.tried(watch.first)
    watch.outliers.went_well(watch.first, None, watch.all, 2.0)
    assert watch.first.condition is FIT


def test_when_the_call_that_tried_it_was_given_up_the_next_one_tries_it():
    watch = out()
    watch.outliers.tried(watch.first)
    watch.outliers.given_up(watch.first, 2.0)
    assert watch.first.condition is OUT
    assert watch.outliers.due(watch.first, 2.0)


def test_who_was_well_for_long_is_out_for_a_second_only():
    watch = out(at_most=30.0)
    watch.outliers.tried(watch.first)
    watch.outliers.went_well(watch.first, 0.1, watch.all, 2.0)
    watch.look(2.0 + 300.0)
    watch.fail(times=5, now=400.0)
    assert watch.first.until == 401.0


# Back slowly


def test_it_comes_back_slowly():
    watch = out()
    watch.outliers.tried(watch.first)
    watch.outliers.went_well(watch.first, 0.1, watch.all, 10.0)
    shares = [watch.first.load.share]
    for passed in (0.15, 0.5, 1.0, 2.0, 3.0, 60.0):
        watch.outliers.review(watch.all, 10.0 + passed * SLOW_START / 3)
        shares.append(watch.first.load.share)
    assert shares == pytest.approx([AT_FIRST, AT_FIRST, 1 / 6, 1 / 3, 2 / 3, 1.0, 1.0])


@pytest.mark.parametrize("how", ["tried", "silent"])
def test_what_it_took_while_it_was_not_well_is_forgotten(how):
    watch = out()
    watch.first.load.outlasted(5.0, 10.0)
    if how == "tried":
        watch.outliers.tried(watch.first)
        watch.outliers.went_well(watch.first, 0.1, watch.all, 10.0)
    else:
        watch.first.condition = SILENT
        watch.outliers.heard(watch.first, 10.0)
    assert watch.first.load.cost(10.0) == 0.0


def test_a_server_that_is_new_begins_slowly():
    watch = Watch()
    watch.first.opened(10.0)
    assert watch.first.load.share == AT_FIRST


def test_all_others_keep_their_share():
    watch = out()
    watch.look(1.0)
    assert [health.load.share for health in watch.all] == [1.0] * 4


# Silence


def waiting(count: int = 4) -> Watch:
    """The first has a call to answer since time 10."""
    watch = Watch(count)
    watch.first.load.begun(10.0)
    return watch


def test_who_has_nothing_to_answer_is_not_asked():
    assert Watch().look(100.0) == ([], [])


def test_who_says_nothing_for_a_while_is_asked_once():
    watch = waiting()
    assert watch.look(10.0 + ASK_AFTER - 0.01) == ([], [])
    assert watch.look(10.0 + ASK_AFTER) == ([watch.first], [])
    assert watch.look(10.0 + ASK_AFTER + LOOK) == ([], [])


def test_who_says_something_meanwhile_is_not_asked():
    watch = waiting()
    watch.outliers.heard(watch.first, 10.2)
    assert watch.look(10.2 + ASK_AFTER - 0.01) == ([], [])


def test_who_does_not_answer_that_either_is_silent():
    watch = waiting()
    watch.look(10.5)
    assert watch.look(10.5 + SILENT_AFTER - 0.01) == ([], [])
    assert watch.look(10.5 + SILENT_AFTER) == ([], [watch.first])
    assert watch.first.condition is SILENT


def test_who_answers_that_is_asked_again_later():
    watch = waiting()
    watch.look(10.5)
    watch.outliers.heard(watch.first, 10.6)
    assert watch.look(10.6 + ASK_AFTER - 0.01) == ([], [])
    assert watch.look(10.6 + ASK_AFTER) == ([watch.first], [])


def test_what_is_silent_is_so_once():
    watch = waiting()
    watch.look(10.5)
    watch.look(12.0)
    assert watch.look(13.0) == ([], [])


def test_more_than_half_may_be_silent():
    watch = Watch()
    for health in watch.all:
        health.load.begun(10.0)
    watch.look(10.5)
    assert watch.look(12.0) == ([], watch.all)


def test_who_is_heard_again_is_fit_and_comes_back_slowly():
    watch = waiting()
    watch.look(10.5)
    watch.look(12.0)
    watch.outliers.heard(watch.first, 20.0)
    assert (watch.first.condition, watch.first.load.share) == (FIT, AT_FIRST)


def test_who_is_silent_takes_the_place_of_one_that_may_be_out():
    watch = waiting(2)
    watch.look(10.5)
    watch.look(12.0)
    watch.fail(watch.all[1], times=20)
    assert watch.conditions == [SILENT, FIT]


# All together


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["fail", "answer", "look", "try", "well", "give up"]), st.integers(0, 4)
        ),
        max_size=60,
    )
)
def test_whatever_happens_half_stays(events):
    watch = Watch(5, failures=2)
    for now, (what, which) in enumerate(events):
        health = watch.all[which]
        match what:
            case "fail":
                watch.fail(health, now=float(now), tried=health.condition is TRIED)
            case "answer":
                watch.answer(0.1 * (1 + 9 * (which % 2)), health)
            case "look":
                watch.look(float(now))
            case "try" if watch.outliers.due(health, float(now)):
                watch.outliers.tried(health)
            case "well" if health.condition is TRIED:
                watch.outliers.went_well(health, 0.1, watch.all, float(now))
            case "give up":
                watch.outliers.given_up(health, float(now))
        assert sum(condition is not FIT for condition in watch.conditions) <= 2


# What may be said


def test_true_is_the_usual_and_false_never():
    assert ejection_of(True) == Ejection(failures=5, slowness=5.0, seconds=1.0, at_most=30.0)
    assert ejection_of(False) is NEVER


def test_ones_own_is_taken():
    own = Ejection(failures=1)
    assert ejection_of(own) is own


@pytest.mark.parametrize("bad", [None, 5, "never", {}, Ejection])
def test_anything_else_is_refused(bad):
    with pytest.raises(errors.UsageError, match="ejection must be"):
        ejection_of(bad)


@pytest.mark.parametrize(
    "bad",
    [
        {"failures": -1},
        {"slowness": -0.5},
        {"seconds": 0.0},
        {"seconds": 2.0, "at_most": 1.0},
        {"seconds": math.nan},
        {"slowness": math.nan},
    ],
)
def test_numbers_that_cannot_be_are_refused(bad):
    with pytest.raises(errors.UsageError, match="is invalid"):
        Ejection(**bad)
