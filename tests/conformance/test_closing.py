"""Closing drains what is in flight; what is left, and what comes after, has its clear error."""

from __future__ import annotations

import math
import time

import pytest
from promises import eventually, promise, until
from ringback import errors


@promise
def test_close_waits_for_what_is_in_flight(client):
    got = []
    client.fire("nap", 0.2, callback=got.append)
    yield client.close()
    yield from until(lambda: got)
    assert got == [0.2]


@promise
def test_close_with_a_timeout_ends_the_rest(client, key):
    failed = []
    client.fire("hold", key, errback=failed.append)
    begin = time.monotonic()
    yield client.close(timeout=0.2)
    yield from until(lambda: failed)
    assert type(failed[0]) is errors.Cancelled
    assert time.monotonic() - begin < 5


@promise
def test_close_now_ends_what_is_in_flight_once(client, key):
    failed = []
    client.fire("hold", key, errback=failed.append)
    yield client.close(now=True)
    yield from until(lambda: failed)
    assert [type(error) for error in failed] == [errors.Cancelled]


@promise
def test_close_now_ends_the_future(client, key):
    future = client.fire("hold", key)
    yield client.close(now=True)
    with pytest.raises(errors.Cancelled):
        yield future


@promise
def test_close_now_stops_the_handler(client, pair, key):
    other = pair.connect()
    future = other.fire("hold", key, errback=lambda error: None)
    yield from eventually(lambda: client.call("marks", key), ["began"])
    yield other.close(now=True)
    yield from eventually(lambda: client.call("marks", key), ["began", "cancelled"])
    del future


@promise
def test_closing_twice_is_the_same_as_once(client):
    yield client.call("ringback.ping")
    yield client.close()
    yield client.close()
    yield client.close(now=True)


@promise
def test_closing_what_was_never_used_is_quick(client):
    begin = time.monotonic()
    yield client.close()
    assert time.monotonic() - begin < 1


@pytest.mark.parametrize("use", ["call", "fire", "notify", "stream"])
@promise
def test_use_after_close_raises(client, use):
    yield client.call("ringback.ping")
    yield client.close()
    with pytest.raises(RuntimeError, match="this client is closed"):
        yield getattr(client, use)("ringback.ping")


@promise
def test_use_of_a_view_after_close_raises(client):
    view = client.options(timeout=1)
    yield view.call("ringback.ping")
    yield client.close()
    with pytest.raises(RuntimeError, match="this client is closed"):
        yield view.call("ringback.ping")


@promise
def test_a_notification_before_close_is_delivered(client, pair, key):
    other = pair.connect()
    other.notify("marked", key, 1)
    yield other.close()
    yield from eventually(lambda: client.call("marks", key), ["called with 1"])


@pytest.mark.parametrize("timeout", [None, math.inf, 1e300, 10**12, -1.0])
@promise
def test_close_takes_any_time(client, pair, timeout):
    other = pair.connect()
    assert (yield other.fire("add", 1, 2)) == 3
    yield other.close(timeout)
    assert other.state == "closed"


@pytest.mark.parametrize("timeout", [math.nan, "1", True])
@promise
def test_close_refuses_what_is_no_time_and_closes_nothing(client, timeout):
    with pytest.raises(TypeError, match="bad timeout to close: seconds, or None for no limit"):
        yield client.close(timeout)
    assert (yield client.call("ringback.ping")) == "pong"
