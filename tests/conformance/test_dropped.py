"""What a program drops comes back: streams that it leaves, clients that it does not close, with all
that they hold.
"""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import time
import warnings
import weakref

import gevent
import pytest
from promises import Pair, eventually, promise, until
from ringback import errors
from styles import Items, Leave, Script
from twisted.internet.defer import ensureDeferred


@pytest.mark.parametrize("way", Leave.WAYS)
@promise
def test_a_stream_that_is_left_is_cancelled_at_the_server(
    client, pair: Pair, key: str, way: str
) -> Script:
    other = pair.connect()  # nobody uses it afterwards
    for method in ("endless", "endless_async"):
        mine = key + method
        yield Leave(lambda mine=mine, method=method: other.stream(method, mine), way)
        yield from eventually(lambda mine=mine: client.call("marks", mine), ["closed"])
    yield from until(lambda: not other._shared.core.machine.calls)


@promise
def test_close_does_not_wait_for_a_stream_that_was_left(client, pair: Pair, key: str) -> Script:
    other = pair.connect()
    yield Leave(lambda: other.stream("endless", key), "break")
    begin = time.monotonic()
    yield other.close()
    assert time.monotonic() - begin < 5


@promise
def test_a_stream_that_is_left_stops_the_iterator_that_was_its_argument(
    client, pair: Pair
) -> Script:
    sent: list[int] = []

    def numbers():
        try:
            for number in range(1_000_000):
                sent.append(number)
                yield number
        finally:
            sent.append(-1)

    other = pair.connect()
    yield Leave(lambda: other.stream("squares", numbers()), "break")
    yield from until(lambda: sent[-1] == -1)
    assert len(sent) < 300


@promise
def test_a_reader_that_nobody_else_holds_reads_on(client, pair: Pair) -> Script:
    "What waits for the next item is kept alive by the call."
    seen: list[int] = []
    _begin(pair, client, seen)
    yield from until(lambda: gc.collect() >= 0 and len(seen) == 3)
    assert seen == [0, 1, 2]


@promise
def test_clients_that_are_dropped_give_back_all_that_they_held(client, pair: Pair) -> Script:
    yield from _used_and_dropped(pair, 1)  # what is made once is made by now
    before = _held()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        cores = yield from _used_and_dropped(pair, CLIENTS)
        yield from until(lambda: not _leftover(before))
    unclosed = [each.category for each in caught if "unclosed <ringback" in str(each.message)]
    assert len(unclosed) >= CLIENTS
    assert {*unclosed} == {ResourceWarning}
    caught.clear()  # a warning has its client
    yield from until(lambda: gc.collect() >= 0 and not any(core() for core in cores))


@promise
def test_a_dropped_client_ends_what_it_has_in_flight(client, pair: Pair) -> Script:
    got: list[float] = []
    pair.style.connect(pair.endpoint).fire("nap", 0.3, callback=got.append)
    future = pair.style.connect(pair.endpoint).fire("nap", 0.3)
    gc.collect()
    assert (yield future) == 0.3
    yield from until(lambda: got == [0.3])


@promise
def test_a_dropped_client_delivers_its_one_way_calls(client, pair: Pair, key: str) -> Script:
    pair.style.connect(pair.endpoint).notify("marked", key, 1)
    gc.collect()
    yield from eventually(lambda: client.call("marks", key), ["called with 1"])


@promise
def test_a_stream_outlives_its_dropped_client(client, pair: Pair) -> Script:
    stream = pair.style.connect(pair.endpoint).stream("count", 1000)
    gc.collect()
    assert (yield Items(stream)) == list(range(1000))


@promise
def test_a_view_keeps_its_client(client, pair: Pair) -> Script:
    view = pair.style.connect(pair.endpoint).options(timeout=5)
    for number in range(3):
        gc.collect()
        assert (yield view.call("add", number, 1)) == number + 1
    yield view._origin.close(now=True)
    with pytest.raises(RuntimeError, match="this client is closed"):
        yield view.call("add", 1, 2)


CLIENTS = 50


def _begin(pair: Pair, client, seen: list[int]) -> None:
    """Read a stream of three items in a caller that nobody has."""

    def read() -> None:
        seen.extend(client.stream("dripping", 3, 0.2))

    async def read_async() -> None:
        async for item in client.stream("dripping", 3, 0.2):
            seen.append(item)

    if pair.style.name == "threading":
        threading.Thread(target=read, daemon=True).start()
    elif pair.style.name == "gevent":
        gevent.spawn(read)
    elif pair.style.name == "asyncio":
        asyncio.ensure_future(read_async())  # noqa: RUF006 - on purpose
    else:
        ensureDeferred(read_async())


def _used_and_dropped(pair: Pair, clients: int) -> Script:
    """Make clients, use each in every way, and drop them: weak references to what the loop has of
    them.
    """
    cores = []
    for _ in range(clients):
        other = pair.style.connect(pair.endpoint)
        assert (yield other.call("add", 1, 2)) == 3
        other.on_state(print)
        assert (yield other.fire("echo", 7, callback=lambda _: None)) == 7
        with pytest.raises(errors.RemoteError):
            yield other.call("fail_inline", "on purpose")
        yield Leave(lambda other=other: other.stream("count", 1000), "break")
        cores.append(weakref.ref(other._shared.core))
        del other
    return cores


def _held() -> tuple[int, int, int]:
    """Descriptors, threads and greenlets of this process."""
    gc.collect()
    greenlets = sum(
        isinstance(each, gevent.Greenlet) and not each.dead for each in gc.get_objects()
    )
    return len(os.listdir("/proc/self/fd")), len(threading.enumerate()), greenlets


def _leftover(before: tuple[int, int, int]) -> list[str]:
    """What there is more of than there was."""
    return [
        f"{now - then} {what}"
        for what, now, then in zip(
            ("descriptors", "threads", "greenlets"), _held(), before, strict=True
        )
        if now > then
    ]
