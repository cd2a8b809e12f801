"""Token buckets: never more than was asked for in any span of time, and never less."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ringback.errors import UsageError
from ringback.server.admission.rates import Bucket, Buckets, Rate, checked_rate

rates = st.builds(Rate, st.floats(0.01, 10_000), st.floats(1, 1000))
# Mostly close together, some far apart.
gaps = st.lists(st.sampled_from([0.0, 0.0, 0.0001, 0.001, 0.01]) | st.floats(0, 20), max_size=200)


@settings(deadline=None, max_examples=300)
@given(rates, gaps)
def test_no_span_of_time_has_more_calls_than_a_burst_and_the_rate(rate, gaps):
    now, bucket, taken = 1000.0, Bucket(rate, 1000.0), []
    for gap in gaps:
        now += gap
        if bucket.take(now):
            taken.append(now)
    for first, begin in enumerate(taken):
        for many, end in enumerate(taken[first:], 1):
            assert many <= rate.burst + rate.calls * (end - begin) + 1e-6


@settings(deadline=None, max_examples=300)
@given(rates, gaps)
def test_who_keeps_to_the_rate_is_never_refused(rate, gaps):
    now, bucket = 1000.0, Bucket(rate, 1000.0)
    for gap in gaps:
        now += 1.000001 / rate.calls + gap
        assert bucket.take(now)


@settings(deadline=None, max_examples=200)
@given(rates, st.lists(st.floats(0, 100), max_size=50))
def test_a_clock_that_goes_back_gives_nothing(rate, times):
    bucket = Bucket(rate, 100.0)
    assert sum(bucket.take(now) for now in times) <= rate.burst


def test_a_client_has_its_burst_and_then_its_rate():
    bucket = Bucket(Rate(10, 5), 0.0)
    assert [bucket.take(0.0) for _ in range(7)] == [True] * 5 + [False] * 2
    assert [bucket.take(0.1), bucket.take(0.1)] == [True, False]
    assert [bucket.take(60.0) for _ in range(7)] == [True] * 5 + [False] * 2


def test_each_client_has_a_bucket_of_its_own_that_is_forgotten_when_it_is_full_again():
    buckets, rate = Buckets(), Rate(1, 2)
    assert [buckets.take("a", rate, 0.0) for _ in range(3)] == [True, True, False]
    assert buckets.take(b"b", rate, 0.0)
    buckets.look(1.0)
    assert len(buckets) == 1
    assert [buckets.take("a", rate, 1.0) for _ in range(2)] == [True, False]
    buckets.look(3.0)
    assert len(buckets) == 0


def test_a_burst_that_is_not_given_is_what_comes_in_a_second_and_one_call_at_least():
    assert checked_rate(100, None, "x") == Rate(100, 100)
    assert checked_rate(0.1, None, "x") == Rate(0.1, 1)
    assert checked_rate(None, None, "x") is None


@pytest.mark.parametrize(
    ("calls", "burst"),
    [(0, None), (-1, 5), ("1", None), (float("inf"), None), (1, 0.5), (1, True), (None, 5)],
)
def test_a_rate_that_is_none_is_refused(calls, burst):
    with pytest.raises(UsageError, match=r"the server: (rate|burst)"):
        checked_rate(calls, burst, "the server")
