"""The bound of calls in flight: where a style can wait it waits, where it cannot it says so, and
`ready` paces.
"""

from __future__ import annotations

import time
from functools import partial

import pytest
from promises import promise, promise_for, until
from ringback import errors
from styles import Begin, Together


@promise_for("threading", "gevent")
def test_at_the_bound_fire_waits(client, pair):
    few = pair.connect(max_in_flight=4)
    yield few.call("ringback.ping")
    ended = []
    for _ in range(4):
        few.fire("nap", 0.2, callback=ended.append)
    future = few.fire("add", 1, 2)
    assert (yield future) == 3
    yield from until(lambda: len(ended) == 4)


@promise_for("threading", "gevent")
def test_at_the_bound_fire_returns_only_when_there_is_room(client, pair):
    few = pair.connect(max_in_flight=4)
    yield few.call("ringback.ping")
    begin = time.monotonic()
    for _ in range(5):
        few.fire("nap", 0.3)
    assert time.monotonic() - begin > 0.25


@promise_for("asyncio", "twisted")
def test_at_the_bound_fire_fails(client, pair):
    few = pair.connect(max_in_flight=4)
    naps = [few.fire("nap", 0.2) for _ in range(4)]
    with pytest.raises(errors.ResourceExhausted, match="4 calls are in flight"):
        yield few.fire("add", 1, 2)
    for nap in naps:
        assert (yield nap) == 0.2


@promise_for("asyncio", "twisted")
def test_at_the_bound_fire_tells_the_errback_once(client, pair):
    few = pair.connect(max_in_flight=1)
    nap = few.fire("nap", 0.1)
    failed = []
    few.fire("add", 1, 2, errback=failed.append)
    assert (yield nap) == 0.1
    assert [type(error) for error in failed] == [errors.ResourceExhausted]


@promise
def test_ready_paces(client, pair):
    few = pair.connect(max_in_flight=4)
    got = []
    for number in range(40):
        yield few.ready()
        few.fire("echo", number, callback=got.append)
    yield from until(lambda: len(got) == 40)
    assert got == list(range(40))


@promise
def test_ready_returns_at_once_below_the_bound(client):
    assert (yield client.ready()) is None


@promise
def test_inside_a_callback_fire_at_the_bound_fails(client, pair):
    few = pair.connect(max_in_flight=2)
    failed = []

    def callback(result):
        for _ in range(3):
            few.fire("nap", 0.1, errback=failed.append)

    few.fire("ringback.ping", callback=callback)
    yield from until(lambda: failed)
    assert type(failed[0]) is errors.ResourceExhausted


@promise
def test_at_the_bound_call_waits(client, pair):
    few = pair.connect(max_in_flight=4)
    calls = [partial(few.call, "echo_async", number) for number in range(24)]
    assert (yield Together(*calls)) == list(range(24))


@promise
def test_a_call_that_waits_at_the_bound_has_its_deadline_all_the_same(client, pair, key):
    few = pair.connect(max_in_flight=1)
    yield few.call("ringback.ping")
    held = few.fire("hold", key, errback=lambda error: None)
    begin = time.monotonic()
    with pytest.raises((errors.DeadlineExceeded, errors.ResourceExhausted)):
        yield few.options(timeout=0.3).call("add", 1, 2)
    assert time.monotonic() - begin < 1.5
    yield few.close(now=True)
    del held


@promise
def test_a_close_ends_a_call_that_waits_at_the_bound(client, pair, key):
    few = pair.connect(max_in_flight=1)
    yield few.call("ringback.ping")
    few.fire("hold", key, errback=lambda error: None)
    waiting = yield Begin(partial(few.call, "add", 1, 2))
    yield from until(lambda: bool(few._shared.core._room))
    yield few.close(now=True)
    with pytest.raises(errors.Cancelled):
        yield waiting


@promise_for("threading", "gevent")
def test_at_the_bound_of_bytes_fire_waits(client, pair):
    small = pair.connect(max_bytes_in_flight=1_000_000)
    yield small.call("ringback.ping")
    begin = time.monotonic()
    for _ in range(11):
        small.fire("measured", 0.3, bytes(100_000))
    assert time.monotonic() - begin > 0.25


@promise_for("asyncio", "twisted")
def test_at_the_bound_of_bytes_fire_fails(client, pair):
    small = pair.connect(max_bytes_in_flight=1_000_000)
    waiting = [small.fire("measured", 0.2, "x" * 100_000) for _ in range(10)]
    with pytest.raises(
        errors.ResourceExhausted, match=r"calls with 1,0\d\d,\d\d\d bytes are in flight"
    ):
        yield small.fire("add", 1, 2)
    yield small.ready()
    assert (yield small.call("add", 1, 2)) == 3
    for future in waiting:
        assert (yield future) == 100_000


@promise
def test_a_call_larger_than_the_bound_of_bytes_goes_alone(client, pair):
    small = pair.connect(max_bytes_in_flight=1000)
    for _ in range(3):
        assert (yield small.call("measured", 0.0, bytes(100_000))) == 100_000
    assert small._shared.core.machine.table.bytes == 0
