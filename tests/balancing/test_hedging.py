"""When a call may be sent to a second server, and how often."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ringback.balancing.hedging import ANEW, ENOUGH, LAST, PART, SAVED, Hedging


def knowing(*times: float) -> Hedging:
    hedging = Hedging()
    for seconds in times:
        hedging.answered("m", seconds)
    return hedging


def test_where_too_little_is_known_no_call_is_sent_twice():
    assert Hedging().after("m") is None
    assert knowing(*[0.1] * (ENOUGH - 1)).after("m") is None


def test_it_is_sent_after_the_time_in_which_95_of_100_are_answered():
    assert knowing(*(number / 100 for number in range(ENOUGH))).after("m") == 0.18
    assert knowing(*[0.1] * 95, *[9.0] * 5).after("m") == 0.1


def test_a_few_slow_calls_do_not_move_it():
    assert knowing(*[0.1] * 50, 9.0, 9.0).after("m") == 0.1


@given(st.lists(st.floats(0.001, 10), min_size=ENOUGH, max_size=ENOUGH))
def test_at_most_one_in_twenty_took_longer(times):
    after = knowing(*times).after("m")
    assert after is not None
    assert sum(seconds > after for seconds in times) <= len(times) * 0.05


def test_it_follows_what_calls_take_now():
    hedging = knowing(*[0.1] * LAST)
    for _ in range(LAST + ANEW):
        hedging.answered("m", 0.5)
    assert hedging.after("m") == 0.5


def test_each_method_has_its_own_times():
    hedging = knowing(*[0.1] * ENOUGH)
    assert (hedging.after("m"), hedging.after("other")) == (0.1, None)


@given(st.lists(st.booleans(), max_size=400))
def test_second_calls_are_never_more_than_one_in_twenty_and_ten(wishes):
    hedging, sent, second = Hedging(), 0, 0
    for wish in wishes:
        if wish:
            second += hedging.spend()
        else:
            hedging.after("m")
            sent += 1
    assert second <= PART * sent + SAVED


def test_however_long_nobody_needed_one_no_more_than_ten_are_saved():
    hedging = Hedging()
    for _ in range(100_000):
        hedging.after("m")
    assert sum(hedging.spend() for _ in range(100)) == int(SAVED)


@pytest.mark.parametrize("calls", [40, 200])
def test_where_every_call_is_slow_one_in_twenty_is_sent_twice(calls):
    hedging = Hedging()
    second = 0
    for _ in range(calls):
        hedging.after("m")
        second += hedging.spend()
    assert second == pytest.approx(1 + calls * PART, abs=1)
