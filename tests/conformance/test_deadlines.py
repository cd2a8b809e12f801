"""A deadline ends the call, at the client and at the server, and goes with the calls made inside
it.
"""

from __future__ import annotations

import time

import pytest
from processes import unserved_endpoint
from promises import eventually, promise
from ringback import errors
from styles import Items

# Seconds that an answer may be late on a busy machine.
NOISE = 0.5


@pytest.mark.parametrize("method", ["nap", "work"])
@promise
def test_a_deadline_ends_a_call(client, method):
    yield client.call("ringback.ping")  # before there is a connection, it would be Unavailable
    with pytest.raises(errors.DeadlineExceeded):
        yield client.options(timeout=0.1).call(method, 1)


@promise
def test_a_deadline_ends_a_call_in_time(client):
    yield client.call("ringback.ping")
    begin = time.monotonic()
    with pytest.raises(errors.DeadlineExceeded):
        yield client.options(timeout=0.1).call("nap", 5)
    assert 0.09 < time.monotonic() - begin < 0.1 + NOISE


@promise
def test_a_deadline_is_a_timeout_error(client):
    yield client.call("ringback.ping")  # before there is a connection, it would be Unavailable
    with pytest.raises(TimeoutError):
        yield client.options(timeout=0.1).call("nap", 1)


@promise
def test_a_deadline_ends_a_fired_call(client):
    yield client.call("ringback.ping")  # before there is a connection, it would be Unavailable
    caught = []
    future = client.options(timeout=0.1).fire("nap", 1, errback=caught.append)
    with pytest.raises(errors.DeadlineExceeded):
        yield future


@promise
def test_a_deadline_stops_a_coroutine_at_the_server(client, key):
    yield client.call("ringback.ping")  # before there is a connection, it would be Unavailable
    with pytest.raises(errors.DeadlineExceeded):
        yield client.options(timeout=0.5).call("hold", key)
    yield from eventually(lambda: client.call("marks", key), ["began", "cancelled"])


@promise
def test_no_timeout_is_unlimited(client):
    assert (yield client.options(timeout=None).call("remaining")) is None


@promise
def test_a_handler_knows_what_is_left(client):
    left = yield client.options(timeout=5).call("remaining")
    assert 4 < left <= 5.01


@promise
def test_a_call_inside_a_handler_inherits_the_deadline(client, pair):
    left = yield client.options(timeout=10).call("nested_remaining", pair.endpoint)
    assert 1 < left <= 10.01


@promise
def test_a_call_inside_a_coroutine_inherits_the_deadline(client, pair):
    left = yield client.options(timeout=10).call("nested_remaining_async", pair.endpoint)
    assert 1 < left <= 10.01


@promise
def test_a_server_that_a_handler_cannot_reach_is_named_to_its_caller(client):
    yield client.call("ringback.ping")
    with unserved_endpoint() as endpoint, pytest.raises(errors.Unavailable) as raised:
        yield client.options(timeout=1).call("nested_call", endpoint)
    assert f"no server at {endpoint}" in str(raised.value)
    assert "the time its caller had left" in str(raised.value)


@promise
def test_for_a_stream_the_timeout_bounds_the_gap_between_items(client):
    yield client.call("ringback.ping")
    assert (yield Items(client.options(timeout=0.5).stream("dripping", 6, 0.1))) == list(range(6))


@promise
def test_a_gap_over_the_timeout_ends_a_stream(client):
    yield client.call("ringback.ping")  # before there is a connection, it would be Unavailable
    seen = []
    with pytest.raises(errors.DeadlineExceeded):
        yield Items(client.options(timeout=0.3).stream("dripping", 2, 3), seen=seen)
    assert seen == []


@promise
def test_the_client_goes_on_after_a_deadline(client):
    yield client.call("ringback.ping")  # before there is a connection, it would be Unavailable
    with pytest.raises(errors.DeadlineExceeded):
        yield client.options(timeout=0.05).call("nap", 0.2)
    assert (yield client.call("nap", 0.3)) == 0.3
