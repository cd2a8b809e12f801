"""The limit that learns, on simulated servers of which the truth is known."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf

import pytest
from ringback.server.scheduling.limiter import FIRST, Limiter
from ringback.server.scheduling.resources import Needs
from ringback.server.scheduling.scheduler import Decision, Queue, Scheduler


@dataclass(eq=False)
class Client:
    turn: int = 0


@dataclass(eq=False)
class Call:
    queue: Queue
    deadline: float | None
    work: float
    session: Client = field(default_factory=Client)
    priority: int = 0
    ended: bool = False
    began: float = 0.0
    held: Needs = ()


class Simulated:
    """A server that does so many calls at full speed, and beyond that shares its speed among all
    that run.

    Arrivals are Poisson; each call has `timeout` seconds. `good` are those that ended in their
    time.
    """

    def __init__(
        self, at_once: float, *, limited: bool = True, seed: int = 1, timeout: float = 0.25
    ) -> None:
        self.chance = random.Random(seed)
        self.limiter = Limiter("all", self.chance)
        self.queue = Queue("work", limiters=[self.limiter] if limited else [])
        self.scheduler: Scheduler[Call] = Scheduler()
        self.at_once = at_once
        self.timeout = timeout
        self.now = 0.0
        self.running: list[Call] = []
        self.good = self.late = self.shed = 0
        self.limits: list[int] = []

    def run(self, rate: float, seconds: float, works: Sequence[float] = (0.01,)) -> int:
        """Calls that ended well in that time."""
        before, end = self.good, self.now + seconds
        arrives = self.now + self.chance.expovariate(rate)
        while self.now < end:
            speed = min(1.0, self.at_once / len(self.running)) if self.running else 1.0
            first = min(self.running, key=lambda call: call.work) if self.running else None
            ends = self.now + first.work / speed if first is not None else inf
            moment = min(ends, arrives)
            for call in self.running:
                call.work -= (moment - self.now) * speed
            self.now = moment
            if first is not None and moment == ends:
                self._end(first)
            else:
                self._come(Call(self.queue, moment + self.timeout, self.chance.choice(works)))
                arrives = moment + self.chance.expovariate(rate)
            self.limits.append(self.limiter.limit)
        return self.good - before

    def _come(self, call: Call) -> None:
        verdict = self.scheduler.add(call, self.now)
        if verdict is Decision.BEGIN:
            self.running.append(call)
        self.shed += verdict is Decision.SHED

    def _end(self, call: Call) -> None:
        self.running.remove(call)
        self.scheduler.finished(call, self.now)
        if call.deadline is not None and self.now <= call.deadline:
            self.good += 1
        else:
            self.late += 1
        for call in self.scheduler.following(self.now):
            if call.held:
                self.running.append(call)
            else:
                self.shed += 1


@pytest.mark.parametrize("at_once", [1, 8, 64])
def test_under_three_times_what_it_can_do_a_server_does_what_it_can(at_once: int) -> None:
    capacity = at_once / 0.01
    server = Simulated(at_once)
    server.run(capacity, 5.0)  # from nothing, it learns
    assert server.run(3 * capacity, 10.0) >= 0.85 * capacity * 10.0
    assert server.late <= 0.02 * server.good


@pytest.mark.parametrize("at_once", [1, 8])
def test_without_a_limit_it_collapses(at_once: int) -> None:
    capacity = at_once / 0.01
    server = Simulated(at_once, limited=False)
    server.run(3 * capacity, 2.0)
    assert server.run(3 * capacity, 3.0) < 0.2 * capacity * 3.0


def test_it_recovers_when_the_overload_is_over() -> None:
    server = Simulated(8)
    server.run(3 * 800, 10.0)
    server.run(0.5 * 800, 1.0)
    shed = server.shed
    assert server.run(0.5 * 800, 5.0) >= 0.97 * 0.5 * 800 * 5.0
    assert server.shed - shed <= 0.01 * 0.5 * 800 * 5.0


def test_the_limit_follows_what_the_server_can_do() -> None:
    server = Simulated(32)
    server.run(2 * 3200, 10.0)
    assert 32 <= server.limiter.limit <= 64
    server.at_once = 4
    server.run(2 * 400, 20.0)
    assert 3 <= server.limiter.limit <= 16
    server.at_once = 32
    server.run(2 * 3200, 20.0)
    assert 32 <= server.limiter.limit <= 64


def test_a_steady_overload_does_not_drive_it_up() -> None:
    server = Simulated(1)
    server.run(3 * 100, 300.0)
    assert max(server.limits[len(server.limits) // 4 :]) <= FIRST


def test_calls_that_take_differently_long_are_no_overload() -> None:
    """Of one method, and of two that share the limit."""
    server = Simulated(64, timeout=1.0)
    works = [0.001] * 9 + [0.05]
    capacity = 64 / (sum(works) / len(works))
    server.run(capacity, 5.0, works)
    assert server.run(0.8 * capacity, 10.0, works) >= 0.95 * 0.8 * capacity * 10.0


def test_few_calls_do_not_raise_the_limit() -> None:
    server = Simulated(1000)
    server.run(100, 60.0)
    assert server.limiter.limit <= FIRST + 5


def test_who_has_no_deadline_is_never_shed() -> None:
    server = Simulated(1)
    calls = [Call(server.queue, None, 0.01) for _ in range(1_000)]
    assert Decision.SHED not in [server.scheduler.add(call, 0.0) for call in calls]


def test_calls_that_take_for_ever_do_not_keep_all_others_from_beginning() -> None:
    server = Simulated(64)
    server.run(1_000, 2.0)
    held = [Call(server.queue, None, inf) for _ in range(2)]
    server.run(1_000, 1.0)
    server.running += [
        call for call in held if server.scheduler.add(call, server.now) is Decision.BEGIN
    ]
    assert len(server.running) >= 2
    for _ in range(60):
        server.limiter.look(server.now)
        server.running += [call for call in server.scheduler.following(server.now) if call.held]
        good = server.run(500, 0.5)
    assert good >= 0.9 * 500 * 0.5


def test_whose_turn_comes_soon_is_not_refused_for_what_another_client_has_waiting() -> None:
    server = Simulated(1)
    server.run(50, 5.0)
    greedy = Client()
    for _ in range(10_000):
        call = Call(server.queue, None, 0.01, greedy)
        if server.scheduler.add(call, server.now) is Decision.BEGIN:
            server.running.append(call)
    assert (
        server.scheduler.add(Call(server.queue, server.now + 0.5, 0.01), server.now)
        is Decision.WAIT
    )
    assert (
        server.scheduler.add(Call(server.queue, server.now + 0.5, 0.01, greedy), server.now)
        is Decision.SHED
    )


def test_a_method_of_which_little_is_known_teaches_nothing() -> None:
    limiter = Limiter("all", random.Random(1))
    now = 0.0
    for number in range(20_000):
        rare = number % 150 == 7
        now += 0.001
        limiter.resource.taken = limiter.resource.total - 1
        # The first of the rare ones takes a moment; the others take long, however few run.
        took = 0.0001 if number == 7 else 0.05 if rare else 0.01
        limiter.finished("rare" if rare else "usual", now - took, now)
    assert limiter.limit > 100
