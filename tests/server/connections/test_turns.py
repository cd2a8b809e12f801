"""Calls that wait for a worker take turns by client, and are bounded."""

from __future__ import annotations

import threading

import pytest
import ringback
from processes import SOON, eventually
from raw import Dealer, args
from ringback.protocol.messages import Call


@pytest.mark.parametrize("method", ["work", "block_in_thread"])
def test_one_client_with_many_calls_does_not_hold_up_another(start_server, backend, method):
    server = start_server(backend, "service", "--workers", "1")
    with ringback.connect(server.endpoint) as greedy, ringback.connect(server.endpoint) as polite:
        assert polite.call("add", 1, 2) == 3
        done: list[int] = []
        for number in range(200):
            greedy.fire(method, 0.01, callback=lambda _, number=number: done.append(number))
        greedy.call("ringback.ping")  # all have arrived
        polite.call(method, 0.01)
        assert len(done) < 50
        assert polite.call("add", 1, 2) == 3
        greedy.close(timeout=SOON)
        assert done == list(range(200))


@pytest.mark.parametrize("method", ["slow_items", "slow_items_async"])
def test_one_client_with_many_streams_does_not_hold_up_another(start_server, backend, method):
    server = start_server(backend, "service", "--workers", "1")
    with ringback.connect(server.endpoint) as polite, Dealer(server.endpoint) as greedy:
        assert polite.call("add", 1, 2) == 3
        greedy.say(
            *(Call(number, method, args("greedy", 0.004), credit=1) for number in range(1, 201))
        )
        eventually(lambda: polite.call("marks", "greedy"))
        assert list(polite.stream(method, "polite", 0.004)) == [0.004]
        assert len(polite.call("marks", "greedy")) < 100
        eventually(lambda: len(polite.call("marks", "greedy")) == 200)


def test_calls_that_are_cancelled_before_their_turn_cost_no_worker(start_server, backend):
    server = start_server(backend, "service", "--workers", "1")
    with ringback.connect(server.endpoint) as client:
        key = "never begun"
        first = client.fire("work", 0.5)
        waiting = [client.fire("marked", key, number) for number in range(200)]
        client.call("ringback.ping")
        for future in waiting[1:]:
            future.cancel()
        assert first.result(SOON) == 0.5
        assert waiting[0].result(SOON) == 0
        assert client.call("add", 1, 2) == 3
        assert client.call("marks", key) == ["called with 0"]
    assert server.stop() == 0


def test_as_many_blocking_calls_run_at_once_as_there_are_workers(start_server, backend):
    server = start_server(backend, "service", "--workers", "64")
    with ringback.connect(server.endpoint) as client:
        client.call("add", 1, 2)
        futures = [client.fire("meet", 64) for _ in range(64)]
        assert [future.result(SOON) for future in futures] == ["met"] * 64


@pytest.mark.parametrize("size", [10_000, 100_000], ids=["in the batch", "in frames"])
def test_calls_with_more_bytes_than_the_server_takes_are_refused(size):
    service = ringback.Service("few")
    go_on = threading.Event()

    @service.method
    def wait(value: list[bytes]) -> int:
        go_on.wait(SOON)
        return len(value[0])

    options = {"backend": "threading", "workers": 1, "max_bytes_in_flight": 5 * size}
    with (
        ringback.Server(service, bind="tcp://127.0.0.1:*", **options) as server,
        ringback.connect(server.endpoint) as client,
    ):
        for _ in range(2):
            go_on.clear()
            futures = [client.fire("wait", [bytes(size)]) for _ in range(20)]
            client.call("ringback.ping")
            go_on.set()
            errors = [future.exception(SOON) for future in futures]
            assert errors[:5] == [None] * 5
            assert {type(error) for error in errors[6:]} == {ringback.errors.ResourceExhausted}
            assert "bytes in flight" in str(errors[-1])
