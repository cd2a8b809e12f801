"""A server that is not there is waited for, or not; one that goes is noticed; one that comes back
is found.
"""

from __future__ import annotations

import signal
import time

import pytest
from processes import free_endpoint, unserved_endpoint
from promises import promise, until
from ringback import errors
from styles import Items


@pytest.fixture
def unserved():
    with unserved_endpoint() as endpoint:
        yield endpoint


@promise
def test_connecting_waits_for_nothing(client, pair, unserved):
    begin = time.monotonic()
    pair.connect(unserved)
    assert time.monotonic() - begin < 0.5
    yield None


@promise
def test_a_server_that_is_not_there_is_unavailable_at_the_deadline(client, pair, unserved):
    begin = time.monotonic()
    with pytest.raises(errors.Unavailable) as caught:
        yield pair.connect(unserved, timeout=0.3).call("add", 1, 2)
    assert 0.29 < time.monotonic() - begin < 1.0
    assert caught.value.started is False
    assert unserved in str(caught.value)


@promise
def test_without_wait_for_ready_it_is_unavailable_at_once(client, pair, unserved):
    begin = time.monotonic()
    with pytest.raises(errors.Unavailable) as caught:
        yield pair.connect(unserved, timeout=30).options(wait_for_ready=False).call("add", 1, 2)
    assert time.monotonic() - begin < 2
    assert caught.value.started is False


@promise
def test_a_host_that_cannot_be_resolved_is_told_as_such(client, pair):
    missing = pair.connect("tcp://nosuchhost.invalid:5555").options(wait_for_ready=False)
    with pytest.raises(errors.Unavailable, match=r"host 'nosuchhost\.invalid' cannot be resolved"):
        yield missing.call("add", 1, 2)


@promise
def test_unavailable_is_a_connection_error(client, pair, unserved):
    with pytest.raises(ConnectionError):
        yield pair.connect(unserved).options(wait_for_ready=False).call("add", 1, 2)


@promise
def test_a_fired_call_is_unavailable_too(client, pair, unserved):
    failed = []
    pair.connect(unserved, timeout=0.2).fire("add", 1, 2, errback=failed.append)
    yield from until(lambda: failed)
    assert type(failed[0]) is errors.Unavailable


@promise
def test_a_stream_is_unavailable_too(client, pair, unserved):
    with pytest.raises(errors.Unavailable):
        yield Items(pair.connect(unserved, timeout=0.2).stream("count", 3))


@promise
def test_a_server_that_comes_up_later_is_waited_for(client, pair, start_server):
    endpoint = free_endpoint()
    future = pair.connect(endpoint).fire("add", 1, 2)
    start_server(pair.backend, bind=(endpoint,))
    assert (yield future) == 3


@promise
def test_a_server_that_dies_is_noticed_and_its_successor_found(client, pair, start_server, key):
    server = start_server(pair.backend)
    other = pair.connect(server.endpoint)
    failed = []
    yield other.call("ringback.ping")
    future = other.fire("hold", key, errback=failed.append)
    yield other.call("ringback.ping")
    begin = time.monotonic()
    server.send_signal(signal.SIGKILL)
    yield from until(lambda: failed)
    assert time.monotonic() - begin < 1.0
    assert [(type(error), error.started) for error in failed] == [(errors.Unavailable, None)]
    del future
    server.wait()
    start_server(pair.backend, bind=(server.endpoint,))
    assert (yield other.call("add", 1, 2)) == 3
    assert len(failed) == 1


@promise
def test_several_endpoints_share_the_calls(client, pair, unserved):
    both = pair.connect(unserved, pair.endpoint)
    for number in range(10):
        assert (yield both.call("echo", number)) == number


@promise
def test_every_new_state_is_told_to_who_listens(client):
    states = []
    stop = client.on_state(states.append)
    yield client.call("ringback.ping")
    yield from until(lambda: states[-1:] == ["ready"])
    stop()
