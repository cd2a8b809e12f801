"""Cancelling ends the call here and the handler there, and harms no other call."""

from __future__ import annotations

import pytest
from promises import eventually, promise, promise_for
from styles import Begin


@promise
def test_cancelling_a_fired_call_stops_its_coroutine(client, key):
    future = client.fire("hold", key)
    yield from eventually(lambda: client.call("marks", key), ["began"])
    future.cancel()
    yield from eventually(lambda: client.call("marks", key), ["began", "cancelled"])
    yield from _swallow(future)


@promise_for("asyncio", "twisted", "threading")
def test_a_cancelled_future_raises_the_loops_own_error(client, pair, key):
    future = client.fire("hold", key)
    yield from eventually(lambda: client.call("marks", key), ["began"])
    future.cancel()
    with pytest.raises(pair.style.cancelled):
        yield future


@promise_for("gevent", "asyncio", "twisted")
def test_cancelling_a_caller_that_waits_stops_its_coroutine(client, key):
    caller = yield Begin(lambda: client.call("hold", key))
    yield from eventually(lambda: client.call("marks", key), ["began"])
    caller.cancel()
    yield from eventually(lambda: client.call("marks", key), ["began", "cancelled"])
    yield from _swallow(caller)


@promise_for("asyncio", "twisted")
def test_a_cancelled_caller_gets_the_loops_own_error(client, pair, key):
    caller = yield Begin(lambda: client.call("hold", key))
    yield from eventually(lambda: client.call("marks", key), ["began"])
    caller.cancel()
    with pytest.raises(pair.style.cancelled):
        yield caller


@promise
def test_cancelling_one_call_harms_no_other(client, key):
    futures = [client.fire("nap", 0.2) for _ in range(10)]
    for future in futures[::2]:
        future.cancel()
    for future in futures[1::2]:
        assert (yield future) == 0.2
    for future in futures[::2]:
        yield from _swallow(future)


@promise
def test_cancelling_what_has_ended_does_nothing(client):
    future = client.fire("add", 1, 2)
    assert (yield future) == 3
    future.cancel()
    assert (yield client.call("add", 3, 4)) == 7


def _swallow(future):
    """Look at the outcome of what was cancelled, so that it counts as seen."""
    with pytest.raises(BaseException):  # noqa: B017, PT011 - each loop has its own error for it
        yield future
