"""Callers without a network: what counts, what is timed, and that the sides of Little's law are measured apart."""

from __future__ import annotations

import itertools
import math
from array import array
from collections.abc import Callable, Generator, Iterator
from functools import partial
from typing import Any

import pytest
from ringback import errors
from ringback.compare.load import arrivals
from ringback.compare.load.batch import Batch
from ringback.compare.load.callers import Caller, Flight, answer_blocking, call_blocking, run_blocking
from ringback.compare.load.firing import Firing
from ringback.compare.load.plan import FIRE_AND_CALLBACK, REQUEST_REPLY, Cell, Load, Plan
from ringback.compare.results import Consistency
from ringback.compare.scenario import Call, Ended, Script, call
from ringback.compare.workloads.handlers import cpu
from ringback.compare.workloads.table import WORKLOADS

SERVERS = ("tcp://127.0.0.1:1",)
ALWAYS = Cell(Load("echo", REQUEST_REPLY, 1, 0.0, 0.0), -math.inf, math.inf, SERVERS)
# Of the clock that tests move: 0 stands for "no time" in a caller.
START = 1000.0
PLAN = Plan(client="threading", cpu_steps=10, timeout=1.0, max_callers=4)


class Enough(BaseException):
    pass


def answers(*given: Any) -> Callable[..., Any]:
    """What stands for a server: it gives these in turn; `Ellipsis` is the right answer, an exception is raised."""
    left = iter(given)

    def answer(_method: str, *args: Any) -> Any:
        for one in left:
            if isinstance(one, Exception):
                raise one
            return args[0] if one is ... else one
        raise Enough

    return answer


def caller(
    cell: Cell = ALWAYS,
    script: Callable[[Iterator[int], int], Script] = WORKLOADS["echo"].script,
    turn: int = 0,
) -> Caller:
    return Caller(partial(script, itertools.count(), 10), cell, Flight(), turn)


def test_a_wrong_reply_is_counted_and_is_no_call() -> None:
    one = caller()
    with pytest.raises(Enough):
        call_blocking(answers(..., bytes(31), b"", None, "text", ...), one)
    assert (len(one.times), one.wrong, one.errors) == (2, 4, {})
    assert one.why == "WrongReply"


def test_replies_that_reach_each_others_callers_are_wrong() -> None:
    numbers = itertools.count()
    one, other = (
        Caller(partial(WORKLOADS["cpu"].script, numbers, 10), ALWAYS, Flight(), 0) for _ in range(2)
    )
    first, second = one.begin(), other.begin()
    assert first is not None
    assert second is not None
    one.reply(cpu(*second.args))
    other.reply(cpu(*first.args))
    assert [(each.wrong, each.times) for each in (one, other)] == [(1, []), (1, [])]


def test_errors_are_counted_by_their_code() -> None:
    one = caller()
    failures = (errors.DeadlineExceeded(), errors.Unavailable(), errors.DeadlineExceeded(), ValueError())
    with pytest.raises(Enough):
        call_blocking(answers(*failures, ...), one)
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

    one = caller(script=script)
    with pytest.raises(Enough):
        call_blocking(answers(errors.Unavailable(), b"2", errors.Unavailable(), b"3", ...), one)
    assert (one.errors, one.wrong) == ({}, 1)
    assert one.why.startswith("AssertionError: the second try at test_callers.py:")


def test_in_a_stride_only_one_call_is_timed_and_all_are_counted() -> None:
    cell = Cell(Load("echo", REQUEST_REPLY, 1, 0.0, 0.0, stride=4), 0.0, math.inf, SERVERS)
    one = caller(cell)
    with pytest.raises(Enough):
        call_blocking(answers(*[...] * 40), one)
    assert (len(one.times), one.answered) == (10, 40)
    assert all(due <= sent <= ended for _, due, sent, ended in one.times)


def batch(cell: Cell, clock: Callable[[], float], monkeypatch: pytest.MonkeyPatch) -> Batch:
    for module in ("batch", "callers"):
        monkeypatch.setattr(f"ringback.compare.load.{module}.monotonic", clock)
    return Batch(PLAN, cell, WORKLOADS["echo"].script)


def test_scripts_are_given_numbers_from_the_cells_first_on() -> None:
    cell = Cell(Load("stream", REQUEST_REPLY, 3, 0.0, 0.0, seed=2**40), START, START, SERVERS, first=7 << 32)
    made = Batch(PLAN, cell, WORKLOADS["stream"].script)
    calls = [each.begin(START) for each in made.callers]
    assert [each.args[0] for each in calls if each] == [(7 << 32) + number for number in range(3)]


class Clock:
    """A time that only tests move."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now


def test_what_was_answered_in_the_window_is_timed_and_all_that_was_answered_is_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock()
    cell = Cell(Load("echo", REQUEST_REPLY, 1, 0.0, 0.0), START + 10.0, START + 20.0, SERVERS)
    made = batch(cell, clock, monkeypatch)

    def takes_two_seconds(_method: str, value: bytes) -> bytes:
        clock.now += 2.0
        return value

    call_blocking(takes_two_seconds, made.callers[0])
    sample = made.sample()
    # Ends at 2, 4, ... 20, of which those at 10, 12, 14, 16 and 18 are in the window.
    assert (sample.calls, sample.answered, sample.made) == (5, 10, 10)
    assert list(array("d", sample.timed[0].ended)) == [0.0, 2.0, 4.0, 6.0, 8.0]
    assert sample.residence == pytest.approx(2.0)
    assert sample.whole == pytest.approx(1.0)


def test_a_slice_lasts_from_its_first_call_to_its_last_reply_though_that_comes_after_its_window(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock()
    cell = Cell(Load("echo", REQUEST_REPLY, 1, 0.0, 0.0), START, START + 10.0, SERVERS)
    made = batch(cell, clock, monkeypatch)

    def takes_four_seconds(_method: str, value: bytes) -> bytes:
        clock.now += 4.0
        return value

    clock.now += 1.0
    made.starts()
    call_blocking(takes_four_seconds, made.callers[0])
    made.ends()
    clock.now += 100.0  # as to come to a report takes
    sample = made.sample()
    assert (sample.answered, sample.seconds) == (3, pytest.approx(12.0))
    assert sample.calls == 2


def test_fired_calls_end_with_the_last_reply(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    cell = Cell(Load("echo", FIRE_AND_CALLBACK, 2, 0.0, 0.0), START, START + 1.0, SERVERS)
    made, client = batch(cell, clock, monkeypatch), Fired()
    made.starts()
    Firing([client], made, lambda: None).closed()
    clock.now += 2.0
    for after, (args, callback, _) in enumerate(list(client.calls), 1):
        clock.now += after
        callback(args[0])
    clock.now += 100.0
    assert (made.sample().answered, made.sample().seconds) == (2, pytest.approx(5.0))


def takes_a_second(clock: Clock) -> Callable[..., bytes]:
    """What stands for a server that does, and answers rightly."""

    def answer(_method: str, value: bytes) -> bytes:
        clock.now += 1.0
        return value

    return answer


def test_the_time_of_a_wrong_reply_is_in_littles_law(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    cell = Cell(Load("echo", REQUEST_REPLY, 2, 0.0, 0.0), START + 0.0, START + 100.0, SERVERS)
    made = batch(cell, clock, monkeypatch)
    made.callers[1].begin()
    call_blocking(takes_a_second(clock), made.callers[0])
    made.callers[1].reply(b"wrong")
    sample = made.sample()
    assert (sample.answered, sample.wrong) == (100, 1)
    assert sample.whole == pytest.approx(1.0)


def test_little_does_not_close_where_time_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    cell = Cell(Load("echo", REQUEST_REPLY, 2, 0.0, 0.0), START + 0.0, START + 100.0, SERVERS)
    made = batch(cell, clock, monkeypatch)
    made.callers[1].begin()  # it gets no reply
    call_blocking(takes_a_second(clock), made.callers[0])
    made.flight.change(0)
    assert made.sample().whole == pytest.approx(0.5)


def test_in_an_open_loop_times_count_from_when_a_call_was_due(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    cell = Cell(
        Load("echo", REQUEST_REPLY, 1, 0.0, 0.0, rate=1.0, arrivals="even"),
        START + 0.0,
        START + 10.0,
        SERVERS,
    )
    made = batch(cell, clock, monkeypatch)
    assert made.dues == [START + number for number in range(10)]

    def sleep(seconds: float) -> None:
        clock.now += seconds

    def stalls_once(_method: str, value: bytes) -> bytes:
        clock.now += 5.0 if clock.now == START + 2.0 else 0.25
        return value

    answer_blocking(stalls_once, made.callers[0], iter(made.dues), made.stops, sleep)
    sample = made.sample()
    [timed] = sample.timed
    due, sent, ended = (array("d", column) for column in (timed.due, timed.sent, timed.ended))
    assert [end - begin for begin, end in zip(due, ended, strict=True)] == pytest.approx(
        [0.25, 0.25, 5.0, 4.25, 3.5, 2.75, 2.0, 1.25, 0.5, 0.25]
    )
    assert [begin - planned for planned, begin in zip(due, sent, strict=True)][3] == pytest.approx(4.0)
    assert (sample.due, sample.skipped, sample.answered) == (10, 0, 10)


def test_arrivals_that_nobody_took_are_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    cell = Cell(
        Load("echo", REQUEST_REPLY, 1, 0.0, 0.0, rate=1.0, arrivals="even"),
        START + 0.0,
        START + 10.0,
        SERVERS,
    )
    made = batch(cell, clock, monkeypatch)

    def stalls(_method: str, value: bytes) -> bytes:
        clock.now += 11.0
        return value

    answer_blocking(stalls, made.callers[0], iter(made.dues), made.stops, lambda _: None)
    assert (made.sample().skipped, made.sample().calls) == (9, 0)


class Fired:
    """A client whose calls are answered when a test says so."""

    def __init__(self) -> None:
        self.calls: list[tuple[tuple[Any, ...], Any, Any]] = []

    def fire(self, _method: str, *args: Any, callback: Any, errback: Any) -> None:
        self.calls.append((args, callback, errback))


def test_each_callback_fires_the_next_call_until_the_window_closes(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    cell = Cell(Load("echo", FIRE_AND_CALLBACK, 1, 0.0, 0.0), START + 0.0, START + 10.0, SERVERS)
    made, client, over = batch(cell, clock, monkeypatch), Fired(), []
    firing = Firing([client], made, lambda: over.append(True))
    firing.closed()
    client.calls[0][1](client.calls[0][0][0])
    client.calls[1][2](errors.Unavailable())
    client.calls[2][1](b"wrong")
    assert len(client.calls) == 4
    assert (firing.left, over) == (1, [])
    clock.now += 10.0
    client.calls[3][1](client.calls[3][0][0])
    assert len(client.calls) == 4
    assert (firing.left, over) == (0, [True])
    sample = made.sample()
    assert (sample.calls, sample.wrong, sample.errors) == (1, 1, {"UNAVAILABLE": 1})


def test_a_pacer_fires_whatever_became_of_the_calls_before(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    cell = Cell(
        Load("echo", FIRE_AND_CALLBACK, 1, 0.0, 0.0, rate=1.0, arrivals="even"),
        START + 0.0,
        START + 5.0,
        SERVERS,
    )
    monkeypatch.setattr("ringback.compare.load.firing.monotonic", clock)
    made, client, over = batch(cell, clock, monkeypatch), Fired(), []
    firing = Firing([client], made, lambda: over.append(True))

    def sleep(seconds: float) -> None:
        clock.now += seconds

    firing.open(sleep)
    assert len(client.calls) == 5
    assert len(made.callers) == 5
    for args, callback, _ in client.calls:
        callback(args[0])
    assert (firing.left, over) == (0, [True])
    [timed] = made.sample().timed
    assert sorted(b - a for a, b in zip(array("d", timed.due), array("d", timed.ended), strict=True)) == [
        0,
        1,
        2,
        3,
        4,
    ]


def test_callers_that_never_end_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    cell = Cell(Load("echo", FIRE_AND_CALLBACK, 3, 0.0, 0.0), START + 0.1, START + 0.2, SERVERS)
    made = batch(cell, Clock(), monkeypatch)
    made.check(0)
    with pytest.raises(RuntimeError, match="1 of 3 callers"):
        made.check(1)


@pytest.mark.parametrize("rate", [10.0, 5_000.0])
def test_poisson_arrivals_come_at_their_rate_and_are_the_same_for_a_seed(rate: float) -> None:
    seconds = 40_000 / rate
    times = arrivals.times("poisson", rate, seconds, 3)
    assert times == sorted(times) == arrivals.times("poisson", rate, seconds, 3)
    assert times != arrivals.times("poisson", rate, seconds, 4)
    assert len(times) == pytest.approx(40_000, abs=5 * 200)
    gaps = [after - before for before, after in itertools.pairwise(times)]
    mean = sum(gaps) / len(gaps)
    spread = (sum((gap - mean) ** 2 for gap in gaps) / len(gaps)) ** 0.5
    assert spread == pytest.approx(mean, rel=0.05)  # of an exponential they are the same


def test_even_arrivals_and_bursts() -> None:
    assert arrivals.times("even", 4.0, 1.0, 0) == [0.0, 0.25, 0.5, 0.75]
    assert arrivals.bursts(2, 0.5, 1.2) == [0.25, 0.25, 0.75, 0.75]


@pytest.mark.parametrize(("kind", "rate"), [("random", 1.0), ("even", 0.0), ("poisson", -1.0)])
def test_other_arrivals_are_refused(kind: str, rate: float) -> None:
    with pytest.raises(ValueError, match=r"rate|arrivals"):
        arrivals.times(kind, rate, 1.0, 0)


@pytest.mark.parametrize(
    ("found", "wrong", "why"),
    [
        (Consistency(lost_updates=2), 0, ""),
        (AssertionError("the sum"), 1, "the check at the end: AssertionError: the sum"),
    ],
)
def test_what_a_check_finds_at_the_end_is_in_the_sample(
    found: Any, wrong: int, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Ended] = []

    def check(ended: Ended) -> Generator[Call, Any, Consistency]:
        told.append(ended)
        assert (yield call("total")) == 7
        with pytest.raises(errors.Unavailable):
            yield call("fails")
        if isinstance(found, Exception):
            raise found
        return found

    for module in ("batch", "callers"):
        monkeypatch.setattr(f"ringback.compare.load.{module}.monotonic", Clock())
    made = Batch(PLAN, ALWAYS, WORKLOADS["echo"].script, check)
    with pytest.raises(Enough):
        call_blocking(answers(..., b"wrong", errors.Unavailable(), ...), made.callers[0])
    given = iter([7, errors.Unavailable()])

    def answer(_method: str) -> Any:
        one = next(given)
        if isinstance(one, Exception):
            raise one
        return one

    run_blocking(answer, made.ending())
    sample = made.sample()
    assert told == [Ended(answered=2, failed=2)]
    assert sample.consistency == (found if not wrong else None)
    assert sample.wrong == 1 + wrong
    assert sample.why == "WrongReply"
    assert made._broken == why
