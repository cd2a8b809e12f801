"""Any peer that uses libzmq can talk to a native server: sizes, frames, heartbeats; and a native
client finds a libzmq server again.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import zmq
from processes import SOON, ServerProcess, eventually, free_endpoint
from raw import HELLO, Dealer, args, said
from ringback import errors
from ringback.clients import threading as blocking
from ringback.protocol.bounds import FRAME_BYTES
from ringback.protocol.messages import Call, Refusal, Reply, Welcome
from ringback.transport.native import client as native_client
from zmq.utils.monitor import recv_monitor_message

MIB = 1024 * 1024
SIZES = (0, 1, 255, 256, 65_535, 65_536, MIB, 5 * MIB, 64 * MIB)


@contextmanager
def heard(endpoint: str, **options: Any) -> Iterator[tuple[zmq.Socket[bytes], zmq.Socket[bytes]]]:
    """A bare DEALER with these options, and its monitor."""
    with zmq.Context() as context, context.socket(zmq.DEALER) as dealer:
        dealer.set(zmq.LINGER, 0)
        for name, value in options.items():
            dealer.set(getattr(zmq, name), value)
        events = dealer.get_monitor_socket()
        dealer.connect(endpoint)
        yield dealer, events
        dealer.disable_monitor()
        events.close(0)


def test_values_of_any_size_in_one_frame_or_many(start_server: Any, backend: str) -> None:
    server = start_server(backend, "service", "--transport", "native", "--max-size", str(130 * MIB))
    with Dealer(server.endpoint) as dealer:
        dealer.socket.set(zmq.RCVTIMEO, int(SOON * 1000))
        assert isinstance(dealer.hear()[0], Welcome)
        for number, size in enumerate(SIZES, 1):
            value = [b"a" * size, b"b" * (size // 2)]
            dealer.say(Call(number, "echo", args(value)))
            frames = dealer.socket.recv_multipart()
            assert len(frames) == 1 + (size >= FRAME_BYTES) + (size // 2 >= FRAME_BYTES), size
            [reply] = dealer._decoder.decode(frames)
            assert isinstance(reply, Reply)
            assert dealer._decoder.values.typed(reply.result, Any) == value


def test_thousands_of_calls_at_once_have_each_its_answer(start_server: Any, backend: str) -> None:
    server = start_server(backend, "service", "--transport", "native")
    calls = 20_000
    with Dealer(server.endpoint) as dealer:
        dealer.socket.set(zmq.SNDHWM, 0)
        assert isinstance(dealer.hear()[0], Welcome)
        for number in range(1, calls + 1):
            dealer.send(said(Call(number, "add_inline", args(number, 1))))
        answered: set[int] = set()
        while len(answered) < calls:
            messages = dealer.hear()
            assert messages, f"{len(answered)} answers of {calls}"
            assert not [one for one in messages if isinstance(one, Refusal)]
            answered |= {one.id for one in messages}


def test_heartbeats_are_answered_and_silence_after_a_ttl_is_the_end(
    start_server: Any, backend: str
) -> None:
    server = start_server(backend, "service", "--transport", "native")
    beating = {"HEARTBEAT_IVL": 50, "HEARTBEAT_TIMEOUT": 2000, "HEARTBEAT_TTL": 2000}
    with heard(server.endpoint, **beating) as (dealer, events):
        dealer.send_multipart(said(HELLO))
        assert dealer.poll(int(SOON * 1000))
        end = time.monotonic() + 3.0  # longer than either bound
        while events.poll(max(0, int((end - time.monotonic()) * 1000))):
            assert recv_monitor_message(events)["event"] != zmq.EVENT_DISCONNECTED


def test_a_peer_that_has_another_version_or_protocol_is_sent_away(
    start_server: Any, backend: str
) -> None:
    server = start_server(backend, "service", "--transport", "native")
    with heard(server.endpoint) as (dealer, _):  # a DEALER may talk to a ROUTER, a PULL may not
        pull = dealer.context.socket(zmq.PULL) if dealer.context else None
        assert pull is not None
        pull.set(zmq.LINGER, 0)
        pull.connect(server.endpoint)
        assert server.logged("it is a PULL, which does not talk to a ROUTER")
        pull.close(0)
    with Dealer(server.endpoint) as other:
        assert isinstance(other.hear()[0], Welcome)


@pytest.mark.parametrize("transport", ["native", "libzmq"])
def test_a_native_client_finds_a_server_that_comes_back(transport: str, connected: Any) -> None:
    endpoint = free_endpoint()
    options = ("--transport", transport)
    first = ServerProcess("asyncio", "service", *options, bind=(endpoint,))
    client = connected(endpoint, transport="native")
    assert client.call("add", 1, 2) == 3
    first.kill()
    with pytest.raises(errors.Unavailable):
        client.options(wait_for_ready=False).call("add", 1, 2)
    second = ServerProcess("asyncio", "service", *options, bind=(endpoint,))
    try:
        assert client.call("add", 1, 2) == 3
    finally:
        second.kill()


@pytest.mark.parametrize("transport", ["native", "libzmq"])
def test_a_server_that_stands_still_is_noticed_by_heartbeats(
    transport: str, start_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(native_client, "BEAT", 0.1)
    monkeypatch.setattr(native_client, "SILENT", 0.3)
    server = start_server("asyncio", "service", "--transport", transport)
    client = blocking.connect(server.endpoint, transport="native")
    try:
        assert client.call("nap", 1.0) == 1.0  # the heartbeats are answered
        held = client.options(timeout=None).fire("nap", 60.0)
        server.send_signal(signal.SIGSTOP)
        try:
            with pytest.raises(errors.Unavailable, match="has been silent"):
                held.result(SOON)
        finally:
            server.send_signal(signal.SIGCONT)
        eventually(lambda: client.call("add", 1, 2) == 3)
    finally:
        client.close()
