"""Connections that are cut, slow, silent, truncated, doubled and garbled: calls end once, and the client comes back."""

from __future__ import annotations

import time
from collections import Counter

import pytest
import ringback
from processes import SOON
from proxy import Proxy, doubled, garbled, truncated
from ringback import errors

CALLS = 300


@pytest.fixture
def proxy(start_server, backend):
    with Proxy(start_server(backend).endpoint) as between:
        yield between


@pytest.fixture
def client(proxy):
    with ringback.connect(proxy.endpoint, timeout=2.0) as connected:
        assert connected.call("echo", 0) == 0
        yield connected


def outcomes(client, during) -> Counter[str]:
    """What comes of calls that are made while that goes on."""
    seen: list[tuple[int, str]] = []
    futures = []
    for number in range(CALLS):
        futures.append(
            client.fire(
                "echo",
                number,
                callback=lambda result, number=number: seen.append(
                    (number, "right" if result == number else "wrong")
                ),
                errback=lambda error, number=number: seen.append((number, type(error).__name__)),
            )
        )
        if number % 50 == 25:
            during()
            time.sleep(0.02)
    for future in futures:
        try:
            future.result(SOON)
        except errors.CallError:
            pass
    client.close(timeout=SOON)
    assert sorted(number for number, _ in seen) == list(range(CALLS)), "not every call has ended once"
    return Counter(outcome for _, outcome in seen)


def test_connections_that_are_cut(proxy, client):
    seen = outcomes(client, proxy.cut)
    assert set(seen) <= {"right", "Unavailable"}
    assert seen["right"] > 0


def test_a_slow_connection_costs_no_call(proxy, client):
    proxy.pause = 0.02
    assert outcomes(client, lambda: None) == {"right": CALLS}


@pytest.mark.parametrize("change", [truncated, doubled, garbled])
@pytest.mark.parametrize("way", ["change", "back"])
def test_bytes_that_are_not_what_was_sent(proxy, client, change, way):
    """What TCP's checksum should have caught: an answer may then be wrong, but no call is lost, and neither end is harmed."""
    setattr(proxy, way, change)
    seen = outcomes(client, lambda: None)
    proxy.change = proxy.back = None
    proxy.cut()
    with ringback.connect(proxy.endpoint, timeout=SOON) as other:
        assert other.call("echo", "still here") == "still here"
    assert sum(seen.values()) == CALLS


def test_a_link_that_goes_silent_ends_calls_at_their_deadline(proxy, client):
    proxy.silent = True
    begun = time.monotonic()
    with pytest.raises(errors.DeadlineExceeded):
        client.options(timeout=0.5).call("echo", 1)
    assert time.monotonic() - begun < 1.5


def test_a_client_comes_back_after_its_connection_was_cut(proxy, client):
    for number in range(5):
        proxy.cut()
        deadline = time.monotonic() + SOON
        while True:
            try:
                assert client.call("echo", number) == number
                break
            except errors.Unavailable:
                assert time.monotonic() < deadline
