"""Which server a policy chooses."""

from __future__ import annotations

import math
import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ringback import errors
from ringback.balancing import LeastInFlight, Load, PeakEwma, Policy, RoundRobin, TwoChoices
from ringback.balancing.loads import DECAY
from ringback.balancing.policies import DEFAULT, POLICIES, policy_of


def servers(*weights: float) -> list[Load]:
    loads = [Load(f"tcp://host:{n}") for n in range(len(weights))]
    for load, weight in zip(loads, weights, strict=True):
        load.weight = weight
    return loads


def turns(policy: Policy, loads: list[Load], count: int) -> list[int]:
    """Which were chosen, one after the other, each having answered before the next is."""
    return [loads.index(policy.choose(loads, 1.0)) for _ in range(count)]


def busy(load: Load, calls: int, now: float = 1.0) -> None:
    for _ in range(calls):
        load.begun(now)


class Rigged(random.Random):
    """Comes with what it was given, again and again."""

    def __init__(self, *numbers: float) -> None:
        super().__init__()
        self._numbers = numbers
        self._next = 0

    def random(self) -> float:
        self._next += 1
        return self._numbers[(self._next - 1) % len(self._numbers)]


weights = st.lists(st.integers(1, 9), min_size=2, max_size=6)

# In turn


def test_in_turn_servers_of_equal_weight_follow_each_other():
    assert turns(RoundRobin(), servers(1, 1, 1), 6) == [0, 1, 2, 0, 1, 2]


def test_in_turn_a_heavy_server_is_mixed_with_the_others():
    assert turns(RoundRobin(), servers(5, 1, 1), 7) == [0, 0, 1, 0, 2, 0, 0]


@given(weights)
def test_in_turn_each_has_exactly_its_weight_in_every_cycle(weights):
    policy, loads = RoundRobin(), servers(*weights)
    for _ in range(3):
        assert Counter(turns(policy, loads, sum(weights))) == dict(enumerate(weights))


@given(weights, st.integers(1, 40))
def test_in_turn_none_is_ever_far_from_its_part(weights, count):
    chosen = Counter(turns(RoundRobin(), servers(*weights), count))
    for index, weight in enumerate(weights):
        assert abs(chosen[index] - count * weight / sum(weights)) < len(weights)


def test_in_turn_a_server_that_starts_slowly_has_its_share():
    loads = servers(1, 1)
    loads[0].share = 0.25
    assert Counter(turns(RoundRobin(), loads, 50)) == {0: 10, 1: 40}


def test_in_turn_a_server_more_changes_nothing_between_the_others():
    policy, loads = RoundRobin(), servers(1, 1, 1)
    turns(policy, loads[:2], 5)
    chosen = Counter(turns(policy, loads, 300))
    assert all(99 <= chosen[index] <= 101 for index in range(3))


# The fewest in flight


@given(st.lists(st.integers(0, 5), min_size=2, max_size=6))
def test_least_takes_one_of_those_with_the_fewest_calls(calls):
    loads = servers(*[1] * len(calls))
    for load, count in zip(loads, calls, strict=True):
        busy(load, count)
    policy = LeastInFlight()
    for _ in range(10):
        assert policy.choose(loads, 1.0).in_flight == min(calls)


def test_least_takes_equal_ones_in_turn():
    assert Counter(turns(LeastInFlight(), servers(1, 1, 1), 9)) == {0: 3, 1: 3, 2: 3}


def test_least_fills_servers_by_their_weights():
    policy, loads = LeastInFlight(), servers(1, 3)
    for _ in range(8):
        policy.choose(loads, 1.0).begun(1.0)
    assert [load.in_flight for load in loads] == [2, 6]


def test_least_sees_the_share_of_a_server_that_starts_slowly():
    policy, loads = LeastInFlight(), servers(1, 1)
    loads[1].share = 0.1
    for _ in range(8):
        policy.choose(loads, 1.0).begun(1.0)
    assert [load.in_flight for load in loads] == [8, 0]


def test_least_counts_streams_too():
    loads = servers(1, 1)
    loads[0].begun(1.0, streams=True)
    policy = LeastInFlight()
    assert {loads.index(policy.choose(loads, 1.0)) for _ in range(4)} == {1}


# Two by chance


@given(
    st.lists(st.integers(0, 9), min_size=2, max_size=6),
    st.floats(0, 1, exclude_max=True),
    st.floats(0, 1, exclude_max=True),
)
def test_of_two_the_worse_is_never_taken(calls, one, other):
    loads = servers(*[1] * len(calls))
    for load, count in zip(loads, calls, strict=True):
        busy(load, count)
    first, second = TwoChoices(Rigged(one, other))._two(loads)
    assert first is not second
    assert TwoChoices(Rigged(one, other)).choose(loads, 1.0).in_flight == min(
        first.in_flight, second.in_flight
    )


def test_of_two_every_pair_comes_up():
    policy, loads = TwoChoices(random.Random(1)), servers(1, 1, 1, 1)
    pairs = Counter(tuple(load.endpoint for load in policy._two(loads)) for _ in range(2400))
    assert len(pairs) == 12
    assert min(pairs.values()) > 120


@pytest.mark.parametrize("kind", [TwoChoices, PeakEwma])
def test_the_same_chance_makes_the_same_choices(kind):
    one, other = (turns(kind(random.Random(7)), servers(1, 1, 1, 1), 50) for _ in range(2))
    assert one == other


# By response time


def test_a_server_that_is_not_known_gets_one_call_and_no_flood():
    policy, loads = PeakEwma(random.Random(1)), servers(1, 1)
    loads[0].begun(1.0)
    loads[0].left()
    loads[0].answered(0.01, 1.0)
    for _ in range(20):
        policy.choose(loads, 1.0).begun(1.0)
    assert [load.in_flight for load in loads] == [19, 1]


def test_a_longer_time_counts_at_once():
    [load] = servers(1)
    load.answered(0.01, 1.0)
    load.answered(2.0, 1.0)
    assert load.cost(1.0) == 2.0


def test_a_shorter_time_counts_little_by_little():
    [load] = servers(1)
    load.answered(2.0, 1.0)
    load.answered(0.0, 1.0 + DECAY)
    assert load.cost(1.0 + DECAY) == pytest.approx(2.0 / math.e)


def test_what_was_measured_is_forgotten_with_time():
    [load] = servers(1)
    load.answered(2.0, 1.0)
    assert load.cost(1.0 + DECAY) == pytest.approx(2.0 / math.e)
    assert load.cost(1.0 + 10 * DECAY) < 0.001


def test_a_server_that_does_not_answer_gets_dearer_with_every_moment():
    [load] = servers(1)
    load.answered(0.01, 1.0)
    load.begun(2.0)
    assert [load.cost(2.0 + waited) for waited in (1.0, 3.0, 9.0)] == [2.0, 6.0, 18.0]


def test_a_server_that_had_nothing_to_do_is_not_late():
    [load] = servers(1)
    load.answered(0.01, 1.0)
    load.begun(60.0)
    assert load.cost(60.0) < 0.03


def test_a_call_that_was_given_up_would_have_taken_longer():
    [load] = servers(1)
    load.answered(0.01, 1.0)
    load.outlasted(5.0, 6.0)
    assert load.cost(6.0) == 5.0
    load.outlasted(0.1, 6.0)
    assert load.cost(6.0) == 5.0


def test_calls_in_flight_make_a_server_dearer():
    [load] = servers(1)
    load.answered(0.5, 1.0)
    busy(load, 3)
    assert load.cost(1.0) == 2.0


@given(st.floats(0.01, 100), st.floats(0.1, 1))
def test_weight_and_share_make_a_server_cheaper(weight, share):
    [load] = servers(weight)
    load.share = share
    load.answered(0.5, 1.0)
    assert load.cost(1.0) == pytest.approx(0.5 / (weight * share))


def test_a_stream_that_runs_for_long_makes_its_server_no_slower():
    [load] = servers(1)
    load.answered(0.01, 1.0)
    load.begun(1.0, streams=True)
    assert load.cost(100.0) < 0.03


def test_a_server_of_which_only_streams_are_known_is_tried():
    one, other = servers(1, 1)
    one.answered(0.01, 1.0)
    other.begun(1.0, streams=True)
    assert other.cost(1.0) < one.cost(1.0)


def test_a_connection_begins_with_nothing_known():
    [load] = servers(1)
    load.answered(5.0, 1.0)
    busy(load, 3)
    load.forget()
    assert (load.in_flight, load.awaited, load.cost(2.0), list(load.times)) == (0, 0, 0.0, [])


# By name


def test_each_policy_has_a_name():
    assert {name: type(policy_of(name)) for name in POLICIES} == POLICIES


def test_the_default_is_by_calls_in_flight():
    assert type(policy_of(None)) is POLICIES[DEFAULT] is LeastInFlight


def test_a_policy_of_ones_own_is_taken():
    class First(Policy):
        def choose(self, among, now):
            return among[0]

    first = First()
    assert policy_of(first) is first


@pytest.mark.parametrize("bad", ["random", "", RoundRobin, 7, ["round-robin"], {}, print])
def test_what_is_no_policy_is_refused_with_those_that_there_are(bad):
    with pytest.raises(errors.UsageError, match="peak-ewma"):
        policy_of(bad)
