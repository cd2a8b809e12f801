"""Callers without a network: what counts, what is timed, and that the sides of Little's law are
measured apart.
"""

from __future__ import annotations

import itertools
import math
from array import array
from collections.abc import Callable, Generator, Iterator
from functools import partial
from time import monotonic
from types import SimpleNamespace
from typing import Any

import pytest
from ringback import errors
from ringback.compare.load import drive, loop_blocking
from ringback.compare.load.batch import Batch, arrivals
from ringback.compare.load.callers import Caller, TimeInFlight
from ringback.compare.load.firing import Firing
from ringback.compare.load.loop_blocking import run
from ringback.compare.load.plan import (
    FIRE_AND_CALLBACK,
    REQUEST_REPLY,
    LoadPlan,
    OfferedLoad,
    SlicePlan,
)
from ringback.compare.results import Consistency
from ringback.compare.scenario import Call, Ended, Script, call
from ringback.compare.workloads.handlers import cpu
from ringback.compare.workloads.table import WORKLOADS

PLAN = LoadPlan(client="threading", cpu_steps=10, timeout=1.0, max_callers=4)
# Of the clock that tests move: 0 stands for "no time" in a caller.
START = 1000.0


class Enough(BaseException):
    pass


def answers(*given: Any) -> Callable[..., Any]:
    """What stands for a server: it gives these in turn; `Ellipsis` is the right answer, an
    exception is raised.
    """
    left = iter(given)

    def answer(_method: str, *args: Any) -> Any:
        for one in left:
            if isinstance(one, Exception):
                raise one
            return args[0] if one is ... else one
        raise Enough

    return answer


class Clock:
    """A time that only tests move."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds

    def takes(self, seconds: float) -> Callable[..., Any]:
        """What stands for a server: each right answer takes so long."""

        def answer(_method: str, value: bytes) -> bytes:
            self.now += seconds
            return value

        return answer


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    for module in ("batch", "callers", "drive", "firing"):
        monkeypatch.setattr(f"ringback.compare.load.{module}.monotonic", made)
    return made


def caller(
    script: Callable[[Iterator[int], int], Script] = WORKLOADS["echo"].script, stride: int = 1
) -> Caller:
    """One whose window does not close."""
    return Caller(partial(script, itertools.count(), 10), math.inf, stride, TimeInFlight())


def batch(window: float, callers: int = 1, style: str = REQUEST_REPLY, **load: Any) -> Batch:
    """The callers of a slice that begins now; of an open loop, whose calls are due at even times."""
    made = OfferedLoad("echo", style, callers, load.pop("warmup", 0.0), window, **load)
    found = Batch(PLAN, SlicePlan(made, "tcp://127.0.0.1:1"), WORKLOADS["echo"])
    found.dues = [
        found.began + number / (made.rate or 1.0)
        for number in range(len(found.dues) and int(window))
    ]
    return found


def call_all(answer: Callable[..., Any], one: Caller) -> None:
    """A closed loop."""
    run(drive._call(loop_blocking, answer, one, None, 0.0))


def answer_all(answer: Callable[..., Any], made: Batch, sleep: Callable[..., Any]) -> None:
    """An open loop."""
    loop = SimpleNamespace(waits=False, sleep=sleep)
    run(drive._call(loop, answer, made.callers[0], iter(made.dues), made.stops))


def test_a_wrong_reply_is_counted_and_is_no_call() -> None:
    one = caller()
    with pytest.raises(Enough):
        call_all(answers(..., bytes(31), b"", None, "text", ...), one)
    assert (len(one.times), one.wrong, one.errors) == (2, 4, {})
    assert one.why == "WrongReply"


def test_replies_that_reach_each_others_callers_are_wrong() -> None:
    numbers = itertools.count()
    one, other = (
        caller(lambda _, steps: WORKLOADS["cpu"].script(numbers, steps)) for _ in range(2)
    )
    first, second = one.begin(), other.begin()
    assert first is not None
    assert second is not None
    one.reply(cpu(*second.args))
    other.reply(cpu(*first.args))
    assert [(each.wrong, each.times) for each in (one, other)] == [(1, []), (1, [])]


def test_errors_are_counted_by_their_code() -> None:
    one = caller()
    failures = (
        errors.DeadlineExceeded(),
        errors.Unavailable(),
        errors.DeadlineExceeded(),
        ValueError(),
    )
    with pytest.raises(Enough):
        call_all(answers(*failures, ...), one)
    assert one.errors == {"DEADLINE_EXCEEDED": 2, "UNAVAILABLE": 1, "ValueError": 1}
    assert (len(one.times), one.wrong) == (1, 0)
    assert one.why.startswith("echo: DeadlineExceeded")


def test_a_script_may_deal_with_an_error_and_be_wrong_about_it() -> None:
    def script(_numbers: Iterator[int], _steps: int) -> Script:
        while True:
            try:
                yield call("echo", b"1")
            except errors.Unavailable:
                assert (yield call("echo", b"2")) == b"2", "the second try"

    one = caller(script)
    with pytest.raises(Enough):
        call_all(answers(errors.Unavailable(), b"2", errors.Unavailable(), b"3", ...), one)
    assert (one.errors, one.wrong) == ({}, 1)
    assert one.why.startswith("AssertionError: the second try at test_callers.py:")


def test_in_a_stride_a_caller_ends_with_the_window_too() -> None:
    """Sixteen calls of 10 ms take longer than a window: callers that go on to the next timed one
    leave the server idle, one by one.
    """
    script = partial(WORKLOADS["echo"].script, itertools.count(), 10)
    assert Caller(script, monotonic(), 16, TimeInFlight()).begin() is None


def test_in_a_stride_only_one_call_is_timed_and_all_are_counted() -> None:
    one = caller(stride=4)
    with pytest.raises(Enough):
        call_all(answers(*[...] * 40), one)
    assert (len(one.times), one.answered) == (10, 40)
    assert all(due <= sent <= ended for _, due, sent, ended in one.times)


def test_scripts_are_given_numbers_from_the_cells_first_on() -> None:
    cell = SlicePlan(
        OfferedLoad("stream", REQUEST_REPLY, 3, 0.0, 0.0, seed=2**40),
        "tcp://127.0.0.1:1",
        first=7 << 32,
    )
    made = Batch(PLAN, cell, WORKLOADS["stream"])
    calls = [each.begin(START) for each in made.callers]
    assert [each.args[0] for each in calls if each] == [(7 << 32) + number for number in range(3)]


def test_what_was_answered_in_the_window_is_timed_and_all_that_was_answered_is_counted(
    clock: Clock,
) -> None:
    clock.now += 3.0
    made = batch(10.0, warmup=10.0)
    call_all(clock.takes(2.0), made.callers[0])
    sample = made.sample()
    # The slice begins when it is read. Calls end after 2, 4, ... 20 s, of which those at 10, 12,
    # 14, 16 and 18 are in the window.
    assert sample.opened == START + 3.0 + 10.0
    assert (sample.calls, sample.answered, sample.made) == (5, 10, 10)
    assert list(array("d", sample.timed[0].ended)) == [0.0, 2.0, 4.0, 6.0, 8.0]
    assert sample.residence == pytest.approx(2.0)
    assert sample.whole == pytest.approx(1.0)


def test_a_slice_lasts_from_its_first_call_to_its_last_reply_though_that_comes_after_its_window(
    clock: Clock,
) -> None:
    made = batch(10.0)
    clock.now += 1.0
    made.starts()
    call_all(clock.takes(4.0), made.callers[0])
    made.ends()
    clock.now += 100.0  # as to come to a report takes
    sample = made.sample()
    assert (sample.answered, sample.seconds) == (3, pytest.approx(12.0))
    assert sample.calls == 2


def test_the_time_of_a_wrong_reply_is_in_littles_law(clock: Clock) -> None:
    made = batch(100.0, 2)
    made.callers[1].begin()
    call_all(clock.takes(1.0), made.callers[0])
    made.callers[1].reply(b"wrong")
    sample = made.sample()
    assert (sample.answered, sample.wrong) == (100, 1)
    assert sample.whole == pytest.approx(1.0)


def test_little_does_not_close_where_time_is_lost(clock: Clock) -> None:
    made = batch(100.0, 2)
    made.callers[1].begin()  # it gets no reply
    call_all(clock.takes(1.0), made.callers[0])
    made.flight.change(0)
    assert made.sample().whole == pytest.approx(0.5)


def test_in_an_open_loop_times_count_from_when_a_call_was_due(clock: Clock) -> None:
    made = batch(10.0, rate=1.0)
    assert made.dues == [START + number for number in range(10)]

    def stalls_once(_method: str, value: bytes) -> bytes:
        clock.now += 5.0 if clock.now == START + 2.0 else 0.25
        return value

    answer_all(stalls_once, made, clock.sleep)
    sample = made.sample()
    [timed] = sample.timed
    due, sent, ended = (array("d", column) for column in (timed.due, timed.sent, timed.ended))
    assert [end - begin for begin, end in zip(due, ended, strict=True)] == pytest.approx(
        [0.25, 0.25, 5.0, 4.25, 3.5, 2.75, 2.0, 1.25, 0.5, 0.25]
    )
    assert [begin - planned for planned, begin in zip(due, sent, strict=True)][3] == pytest.approx(
        4.0
    )
    assert (sample.due, sample.skipped, sample.answered) == (10, 0, 10)


def test_arrivals_that_nobody_took_are_skipped(clock: Clock) -> None:
    made = batch(10.0, rate=1.0)
    answer_all(clock.takes(11.0), made, None)
    assert (made.sample().skipped, made.sample().calls) == (9, 0)


# Calls that are fired


class Client:
    """One whose calls are answered when a test says so."""

    def __init__(self) -> None:
        self.calls: list[tuple[tuple[Any, ...], Any, Any]] = []

    def fire(self, _method: str, *args: Any, callback: Any, errback: Any) -> None:
        self.calls.append((args, callback, errback))

    def answer(self, number: int) -> None:
        args, callback, _ = self.calls[number]
        callback(args[0])


def test_fired_calls_end_with_the_last_reply(clock: Clock) -> None:
    made, client = batch(1.0, 2, FIRE_AND_CALLBACK), Client()
    made.starts()
    run(Firing([client.fire], made).start(clock.sleep, lambda: None))
    clock.now += 2.0
    for number in range(2):
        clock.now += number + 1
        client.answer(number)
    clock.now += 100.0
    assert (made.sample().answered, made.sample().seconds) == (2, pytest.approx(5.0))


def test_each_callback_fires_the_next_call_until_the_window_closes(clock: Clock) -> None:
    made, client, over = batch(10.0, style=FIRE_AND_CALLBACK), Client(), []
    firing = Firing([client.fire], made)
    run(firing.start(clock.sleep, lambda: over.append(True)))
    client.answer(0)
    client.calls[1][2](errors.Unavailable())
    client.calls[2][1](b"wrong")
    assert len(client.calls) == 4
    assert (firing.left, over) == (1, [])
    clock.now += 10.0
    client.answer(3)
    assert len(client.calls) == 4
    assert (firing.left, over) == (0, [True])
    sample = made.sample()
    assert (sample.calls, sample.wrong, sample.errors) == (1, 1, {"UNAVAILABLE": 1})
    # Callbacks are made once: to make them for each call would be part of its time.
    assert len({(id(callback), id(errback)) for _, callback, errback in client.calls}) == 1


def test_a_pacer_fires_whatever_became_of_the_calls_before(clock: Clock) -> None:
    made, client, over = batch(5.0, style=FIRE_AND_CALLBACK, rate=1.0), Client(), []
    firing = Firing([client.fire], made)
    run(firing.start(clock.sleep, lambda: over.append(True)))
    assert len(client.calls) == len(made.callers) == 5
    for number in range(5):
        client.answer(number)
    assert (firing.left, over) == (0, [True])
    [timed] = made.sample().timed
    assert sorted(
        b - a for a, b in zip(array("d", timed.due), array("d", timed.ended), strict=True)
    ) == [*range(5)]


def test_a_pacer_fires_again_with_a_caller_that_is_free(clock: Clock) -> None:
    made, client = batch(3.0, 2, FIRE_AND_CALLBACK, rate=1.0), Client()

    async def sleep(seconds: float) -> None:
        if client.calls:
            client.answer(-1)
        await clock.sleep(seconds)

    run(Firing([client.fire], made).start(sleep, lambda: None))
    assert (len(client.calls), len(made.callers)) == (3, 2)
    assert len({id(callback) for _, callback, _ in client.calls}) == 1


def test_callers_that_never_end_are_an_error(clock: Clock) -> None:
    made = batch(0.1, 3, FIRE_AND_CALLBACK, warmup=0.1)
    made.check(0)
    with pytest.raises(RuntimeError, match="1 of 3 callers"):
        made.check(1)


# When calls are due


@pytest.mark.parametrize("rate", [10.0, 5_000.0])
def test_poisson_arrivals_come_at_their_rate_and_are_the_same_for_a_seed(rate: float) -> None:
    seconds = 40_000 / rate
    times = list(arrivals(rate, seconds, 3))
    assert times == sorted(times) == list(arrivals(rate, seconds, 3))
    assert times != list(arrivals(rate, seconds, 4))
    assert len(times) == pytest.approx(40_000, abs=5 * 200)
    gaps = [after - before for before, after in itertools.pairwise(times)]
    mean = sum(gaps) / len(gaps)
    spread = (sum((gap - mean) ** 2 for gap in gaps) / len(gaps)) ** 0.5
    assert spread == pytest.approx(mean, rel=0.05)  # of an exponential they are the same


# What calls have left behind


@pytest.mark.parametrize(
    ("found", "wrong", "why"),
    [
        (Consistency(lost_updates=2), 0, ""),
        (AssertionError("the sum"), 1, "the check at the end: AssertionError: the sum"),
    ],
)
def test_what_a_check_finds_at_the_end_is_in_the_sample(found: Any, wrong: int, why: str) -> None:
    told: list[Ended] = []

    def check(ended: Ended) -> Generator[Call, Any, Consistency]:
        told.append(ended)
        assert (yield call("total")) == 7
        with pytest.raises(errors.Unavailable):
            yield call("fails")
        if isinstance(found, Exception):
            raise found
        return found

    cell = SlicePlan(OfferedLoad("echo", REQUEST_REPLY, 1, 0.0, 60.0), "tcp://127.0.0.1:1")
    made = Batch(PLAN, cell, WORKLOADS["echo"]._replace(check=check))
    with pytest.raises(Enough):
        call_all(answers(..., b"wrong", errors.Unavailable(), ...), made.callers[0])
    given = iter([7, errors.Unavailable()])

    def answer(_method: str) -> Any:
        one = next(given)
        if isinstance(one, Exception):
            raise one
        return one

    run(drive._run(loop_blocking, answer, made.ending()))
    sample = made.sample()
    assert told == [Ended(answered=2, failed=2)]
    assert sample.consistency == (found if not wrong else None)
    assert sample.wrong == 1 + wrong
    assert sample.why == "WrongReply"
    assert made._broken == why
