"""What each policy makes of three servers of which one is ten times as slow, in a simulation: time
is a number, chance has a seed.

Each server works on one call after the other. Calls come by chance, for 70 % of what all three can
do together.
"""

from __future__ import annotations

import heapq
import random

import pytest
from ringback.balancing import (
    Ejection,
    LeastInFlight,
    Load,
    PeakEwma,
    Policy,
    RoundRobin,
    TwoChoices,
)
from ringback.balancing.outliers import LOOK, Health, HealthCondition, Outliers

# Seconds that a call takes, and calls a second.
TAKES = (0.1, 0.01, 0.01)
RATE = 0.7 * sum(1 / seconds for seconds in TAKES)
CALLS = 6000


class Outcome:
    def __init__(self, loads: list[Load], policy: Policy, ejection: Ejection | None = None) -> None:
        self.counts = [0] * len(loads)
        self.times: list[float] = []
        self.ejected = 0
        self._loads, self._policy = loads, policy
        self._outliers = None if ejection is None else Outliers(ejection)
        self._healths = [Health(load) for load in loads]
        for load in loads:
            load.share = 1.0
        self._run(random.Random(1))

    def _run(self, chance: random.Random) -> None:
        loads = self._loads
        free = [0.0] * len(loads)
        ends: list[tuple[float, float, int]] = []
        now = look = 1.0
        for _ in range(CALLS):
            now += chance.expovariate(RATE)
            while ends and ends[0][0] <= now:
                at, begun, server = heapq.heappop(ends)
                loads[server].left()
                loads[server].answered(at - begun, at)
            if self._outliers is not None and now >= look:
                look = now + LOOK
                self._outliers.look(self._healths, now)
                self.ejected += self._healths[0].condition is HealthCondition.OUT
            fit = [each.load for each in self._healths if each.condition is HealthCondition.FIT]
            server = loads.index(self._policy.choose(fit, now))
            self.counts[server] += 1
            loads[server].begun(now)
            free[server] = max(free[server], now) + chance.uniform(0.8, 1.2) * TAKES[server]
            heapq.heappush(ends, (free[server], now, server))
            self.times.append(free[server] - now)

    @property
    def share(self) -> float:
        """The part of all calls that went to the slow server."""
        return self.counts[0] / CALLS

    @property
    def median(self) -> float:
        return sorted(self.times)[CALLS // 2]

    @property
    def p99(self) -> float:
        return sorted(self.times)[CALLS * 99 // 100]


def three(*weights: float) -> list[Load]:
    loads = [Load(f"tcp://host:{n}") for n in range(3)]
    for load, weight in zip(loads, weights or (1.0, 1.0, 1.0), strict=True):
        load.weight = weight
    return loads


# What the slow one could take is 1/21 of all.
POLICIES = {
    "round-robin": (RoundRobin, 0.33, 0.34),
    "two-choices": (lambda: TwoChoices(random.Random(2)), 0.04, 0.12),
    "least-in-flight": (LeastInFlight, 0.02, 0.10),
    "peak-ewma": (lambda: PeakEwma(random.Random(2)), 0.0, 0.05),
}


@pytest.mark.parametrize("name", POLICIES)
def test_the_slow_server_gets_that_part_of_the_calls(name):
    policy, least, most = POLICIES[name]
    assert least <= Outcome(three(), policy()).share <= most


def test_a_policy_that_looks_at_nothing_lets_calls_wait_for_ever_longer():
    blind, seeing = Outcome(three(), RoundRobin()), Outcome(three(), LeastInFlight())
    assert blind.p99 > 100 * seeing.p99


def test_by_response_time_few_calls_meet_the_slow_server():
    assert Outcome(three(), PeakEwma(random.Random(2))).median < 3 * TAKES[1]


def test_weights_that_tell_the_truth_are_as_good_for_who_takes_turns():
    assert Outcome(three(1, 10, 10), RoundRobin()).p99 < 1.0


def test_a_slow_server_is_out_where_answers_are_much_slower_than_those_of_the_others():
    outcome = Outcome(three(), RoundRobin(), Ejection(at_most=1e6, seconds=1e6))
    assert outcome.ejected
    assert outcome.share < 0.1
