"""Arguments that stream: an iterator at the client is an iterator in the handler, one held back by
the other.
"""

from __future__ import annotations

import asyncio
import time

import pytest
from promises import Pair, eventually, promise, promise_for, until
from ringback import errors
from styles import Items, Script

SUMS = ("sum_of", "sum_of_async", "sum_in_thread")


def numbers(n: int, sent: list[int] | None = None):
    """A generator that notes how far it has come, and whether it was closed."""
    try:
        for number in range(n):
            if sent is not None:
                sent.append(number)
            yield number
    finally:
        if sent is not None:
            sent.append(-1)


async def numbers_async(n: int):
    for number in range(n):
        yield number


@promise
def test_an_iterator_arrives_as_one(client) -> Script:
    for method in SUMS:
        for n in (0, 1, 64, 1000):
            assert (yield client.call(method, numbers(n))) == sum(range(n))
    assert (yield client.call("joined", iter(["a", "b"]))) == "a b"
    assert (yield client.call("joined", words=iter(["a", "b"]), between="-")) == "a-b"


@promise_for("asyncio", "twisted")
def test_an_async_iterator_arrives_as_one(client) -> Script:
    for method in SUMS:
        assert (yield client.call(method, numbers_async(1000))) == sum(range(1000))
    assert (yield client.call("sum_of_async", numbers_async(10), times=2)) == 90


@promise
def test_a_list_may_stand_for_an_iterator(client) -> Script:
    for method in SUMS:
        assert (yield client.call(method, [1, 2, 3])) == 6


@promise
def test_items_go_both_ways(client) -> Script:
    for method in ("squares", "squares_async"):
        assert (yield Items(client.stream(method, numbers(1000)))) == [n * n for n in range(1000)]


@promise
def test_a_fired_call_may_stream(client) -> Script:
    seen: list[int] = []
    assert (yield client.fire("sum_of", numbers(1000), callback=seen.append)) == sum(range(1000))
    yield from until(lambda: seen)
    assert seen == [sum(range(1000))]


@promise
def test_many_calls_stream_at_once(client) -> Script:
    futures = [client.fire(SUMS[n % 3], numbers(100 + n)) for n in range(12)]
    for n, future in enumerate(futures):
        assert (yield future) == sum(range(100 + n))


@promise
def test_what_the_iterator_raises_ends_the_call(client, key: str) -> Script:
    def failing():
        yield from range(100)  # more than it has credit for before the handler has begun
        raise LookupError("no more of this")

    for method in ("swallow", "swallow_async"):
        mine = key + method
        with pytest.raises(LookupError, match="no more of this"):
            yield client.call(method, mine, failing())
        yield from eventually(lambda mine=mine: client.call("marks", mine), ["began", "cancelled"])


@promise
def test_a_handler_may_leave_the_rest(client) -> Script:
    "The iterator is closed, and was never further ahead than there was credit for."
    for method in ("first_of", "first_of_async"):
        sent: list[int] = []
        assert (yield client.call(method, numbers(1_000_000, sent), 10)) == list(range(10))
        yield from until(lambda sent=sent: sent and sent[-1] == -1)
        assert len(sent) <= 10 + 64 + 1


@promise
def test_a_slow_reader_holds_back_both_iterators(client) -> Script:
    sent: list[int] = []
    stream = client.stream("squares", numbers(1_000_000, sent))
    assert (yield Items(stream, limit=5)) == [0, 1, 4, 9, 16]
    yield from until(lambda: sent[-1] == -1)
    assert len(sent) < 5 + 64 + 64 + 64


@promise_for("gevent", "asyncio", "twisted")
def test_an_iterator_that_waits_is_stopped_when_its_call_has_ended(client, pair: Pair) -> Script:
    closed: list[int] = []

    yield client.call("ringback.ping")
    with pytest.raises(errors.DeadlineExceeded):
        yield client.options(timeout=0.2).call("sum_of", WAITING[pair.style.name](closed))
    yield from until(lambda: closed)


@promise
def test_cancelling_reaches_the_handler(client, key: str) -> Script:
    def endless():
        while True:
            yield 1

    for method in ("swallow", "swallow_async"):
        mine = key + method
        future = client.fire(method, mine, endless(), errback=lambda _: None)
        yield from eventually(lambda mine=mine: client.call("marks", mine), ["began"])
        future.cancel()
        yield from eventually(lambda mine=mine: client.call("marks", mine), ["began", "cancelled"])


@promise
def test_a_wrong_item_is_named(client) -> Script:
    for method in ("sum_of", "sum_of_async"):
        with pytest.raises(
            errors.InvalidArgument, match=f"{method}: item 3 of argument 'numbers'.*int.*str"
        ):
            yield client.call(method, iter([1, 2, "three", 4]))
    with pytest.raises(errors.InvalidArgument, match="an item for sum_of cannot be sent"):
        yield client.call("sum_of", iter([1, object()]))
    assert (yield client.call("add", 1, 2)) == 3


@promise
def test_an_iterator_is_refused_where_none_is_taken(client) -> Script:
    with pytest.raises(errors.InvalidArgument, match=r"add: argument 'a': .*stream"):
        yield client.call("add", iter([1]), 2)
    with pytest.raises(errors.InvalidArgument, match=r"echo: argument 'value': .*event loop"):
        yield client.call("echo", iter([1]))
    with pytest.raises(errors.InvalidArgument, match="only one argument may be an iterator"):
        yield client.call("joined", iter("ab"), iter("cd"))
    with pytest.raises(errors.InvalidArgument, match="cannot be sent"):
        client.notify("sum_of", iter([1]))


@promise
def test_large_items_keep_the_bound(client, pair: Pair) -> Script:
    small = pair.connect(max_size=100_000)
    try:
        assert (yield small.call("joined", iter(["x" * 90_000]))) == "x" * 90_000
        with pytest.raises(errors.ResourceExhausted, match="an item for joined is too large"):
            yield small.call("joined", iter(["x" * 100_001]))
    finally:
        yield small.close()


@promise_for("threading", "gevent", "asyncio", "twisted")
def test_the_timeout_bounds_the_gap_between_items(client, pair: Pair) -> Script:
    def slowly(n: int, gap: float):
        return SLOWLY[pair.style.name](n, gap)

    yield client.call("ringback.ping")
    assert (yield client.options(timeout=0.5).call("sum_of", slowly(6, 0.2))) == 15
    with pytest.raises(
        errors.DeadlineExceeded, match=r"sum_of: the next item did not come within 0.2 s"
    ):
        yield client.options(timeout=0.2).call("sum_of", slowly(3, 0.6))


def slowly_in_thread(n: int, gap: float):
    for number in range(n):
        yield number
        time.sleep(gap)


def slowly_in_greenlet(n: int, gap: float):
    import gevent

    for number in range(n):
        yield number
        gevent.sleep(gap)


async def slowly_on_asyncio(n: int, gap: float):
    for number in range(n):
        yield number
        await asyncio.sleep(gap)


async def slowly_on_reactor(n: int, gap: float):
    from twisted.internet import reactor, task

    for number in range(n):
        yield number
        await task.deferLater(reactor, gap)


SLOWLY = {
    "threading": slowly_in_thread,
    "gevent": slowly_in_greenlet,
    "asyncio": slowly_on_asyncio,
    "twisted": slowly_on_reactor,
}


def waits_in_greenlet(closed: list[int]):
    from gevent.event import Event

    try:
        yield 1
        Event().wait()
    finally:
        closed.append(1)


async def waits_on_asyncio(closed: list[int]):
    try:
        yield 1
        await asyncio.Event().wait()
    finally:
        closed.append(1)


async def waits_on_reactor(closed: list[int]):
    from twisted.internet.defer import Deferred

    try:
        yield 1
        await Deferred()
    finally:
        closed.append(1)


WAITING = {"gevent": waits_in_greenlet, "asyncio": waits_on_asyncio, "twisted": waits_on_reactor}
