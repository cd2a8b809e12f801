"""Deadlines against the simplest thing that could be right: a list that is searched."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ringback.server.calls.deadlines import Deadlines

quick = settings(deadline=None, max_examples=200)

times = st.integers(0, 20).map(float)
steps = st.lists(
    st.tuples(st.just("add"), times)
    | st.tuples(st.just("end"), st.integers(0, 60))
    | st.tuples(st.just("expire"), times)
    | st.tuples(st.just("next"), st.none()),
    max_size=60,
)


@pytest.fixture
def ended() -> set[int]:
    return set()


@quick
@given(steps)
def test_what_is_due_and_when_is_what_a_search_of_all_would_tell(steps):
    gone: set[int] = set()
    deadlines: Deadlines[int] = Deadlines(lambda thing: thing not in gone)
    model: dict[int, float] = {}
    for number, (step, argument) in enumerate(steps):
        alive = {thing: due for thing, due in model.items() if thing not in gone}
        if step == "add":
            deadlines.add(argument, number)
            model[number] = argument
        elif step == "end":
            gone.add(argument)
        elif step == "next":
            assert deadlines.next() == min(alive.values(), default=None)
        else:
            due = sorted((due, thing) for thing, due in alive.items() if due <= argument)
            assert deadlines.expired(argument) == [thing for _, thing in due]
            for _, thing in due:
                del model[thing]


@quick
@given(st.lists(times, max_size=50), times)
def test_nothing_expires_twice(deadlines, now):
    heap: Deadlines[int] = Deadlines(lambda _: True)
    for number, due in enumerate(deadlines):
        heap.add(due, number)
    first = heap.expired(now)
    assert not set(first) & set(heap.expired(100.0))


def test_equal_deadlines_expire_in_the_order_they_were_added(ended):
    deadlines: Deadlines[int] = Deadlines(lambda thing: thing not in ended)
    for thing in range(5):
        deadlines.add(1.0, thing)
    assert deadlines.expired(1.0) == [0, 1, 2, 3, 4]


def test_a_deadline_expires_at_its_very_time(ended):
    deadlines: Deadlines[int] = Deadlines(lambda thing: thing not in ended)
    deadlines.add(1.0, 1)
    assert deadlines.expired(1.0) == [1]


def test_things_need_no_order_of_their_own():
    deadlines: Deadlines[object] = Deadlines(lambda _: True)
    things = [object(), object()]
    for thing in things:
        deadlines.add(1.0, thing)
    assert deadlines.expired(1.0) == things


def test_what_has_ended_does_not_pile_up(ended):
    deadlines: Deadlines[int] = Deadlines(lambda thing: thing not in ended)
    for thing in range(20_000):
        deadlines.add(1e9, thing)
        ended.add(thing)
    assert len(deadlines) <= 1024


def test_a_sweep_loses_nothing_that_is_alive(ended):
    deadlines: Deadlines[int] = Deadlines(lambda thing: thing not in ended)
    for thing in range(5000):
        deadlines.add(float(5000 - thing), thing)
        if thing % 10:
            ended.add(thing)
    assert deadlines.expired(1e9) == list(range(4990, -1, -10))
