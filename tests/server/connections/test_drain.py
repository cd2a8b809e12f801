"""SIGTERM: what was accepted is answered, what comes later is refused, and the exit status tells
how it went.
"""

from __future__ import annotations

import signal
import threading
import time
from collections import Counter

import pytest
from ringback import errors

CALLS = 1000


@pytest.mark.parametrize("method", ["work", "nap"])
def test_every_accepted_call_is_answered_and_the_exit_status_is_0(
    backend: str, start_server, connected, method: str
) -> None:
    "An unmarked def in 64 workers, and a coroutine."
    server = start_server(backend, "service", "--workers", "64")
    client = connected(server.endpoint)
    first = threading.Event()
    futures = [client.fire(method, 0.2, callback=lambda _: first.set()) for _ in range(CALLS)]
    assert first.wait(20)
    server.send_signal(signal.SIGTERM)
    outcomes: Counter[str] = Counter()
    for future in futures:
        try:
            assert future.result(40) == 0.2
        except errors.Unavailable as error:
            # never read by the server, so that it may be sent again; but never lost on the way
            outcomes[f"unavailable, started={error.started}"] += 1
        else:
            outcomes["answered"] += 1
    assert server.wait(30) == 0
    # All were sent long before the first reply came back.
    assert outcomes == {"answered": CALLS}


def test_accepted_streams_go_on_to_their_end(backend: str, start_server, connected) -> None:
    server = start_server(backend)
    client = connected(server.endpoint)
    streams = [client.stream(method, 500) for method in ("count", "count_async")]
    seen = [[next(stream)] for stream in streams]
    server.send_signal(signal.SIGTERM)
    for items, stream in zip(seen, streams, strict=True):
        items.extend(stream)
    assert seen == [list(range(500))] * 2
    assert server.wait(20) == 0


def test_a_call_after_sigterm_is_unavailable_and_was_not_started(
    backend: str, start_server, connected
) -> None:
    server = start_server(backend)
    client, other = connected(server.endpoint), connected(server.endpoint)
    assert other.call("add", 1, 2) == 3
    key = f"late {backend}"
    running = client.fire("nap", 1.5)
    assert client.call("add", 1, 2) == 3
    server.send_signal(signal.SIGTERM)
    refused = _until_refused(other)
    assert refused.started is False
    with pytest.raises(errors.Unavailable) as caught:
        client.options(wait_for_ready=False).call("marked", key, 1)
    assert caught.value.started is False
    assert running.result(20) == 1.5
    assert server.wait(20) == 0


@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_stops_at_once(
    backend: str, start_server, connected, first: signal.Signals
) -> None:
    server = start_server(backend)
    client = connected(server.endpoint)
    future = client.fire("nap", 30.0)
    assert client.call("add", 1, 2) == 3
    start = time.monotonic()
    server.send_signal(first)
    _until_refused(client)
    assert not future.done()
    server.send_signal(signal.SIGTERM)
    assert server.wait(10) != 0
    assert time.monotonic() - start < 8
    with pytest.raises((errors.Unavailable, errors.Cancelled)):
        future.result(10)


@pytest.mark.parametrize("method", ["nap", "work"])
def test_a_drain_that_takes_too_long_exits_with_1(
    backend: str, start_server, connected, method: str
) -> None:
    server = start_server(backend, "service", "--drain-timeout", "0.5")
    client = connected(server.endpoint)
    future = client.fire(method, 20.0)
    assert client.call("add", 1, 2) == 3
    start = time.monotonic()
    server.send_signal(signal.SIGTERM)
    assert server.wait(15) == 1
    assert 0.4 < time.monotonic() - start < 8
    with pytest.raises(errors.CallError):
        future.result(10)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_idle_server_ends_at_once_with_0(
    backend: str, start_server, connected, number: signal.Signals
) -> None:
    server = start_server(backend)
    client = connected(server.endpoint)
    assert client.call("add", 1, 2) == 3
    start = time.monotonic()
    server.send_signal(number)
    assert server.wait(10) == 0
    assert time.monotonic() - start < 5


def _until_refused(client, within: float = 1.2) -> errors.Unavailable:
    """Call until the signal has reached the server, and return the error that tells so."""
    end = time.monotonic() + within
    while time.monotonic() < end:
        try:
            client.options(wait_for_ready=False).call("add", 1, 2)
        except errors.Unavailable as error:
            return error
    raise AssertionError(f"calls are still answered {within} s after the signal")
