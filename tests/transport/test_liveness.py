"""Loops that stand still, processes that do, and what their peers think of them.

What takes seconds takes tenths of them here.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from typing import Any

import pytest
from processes import SOON, ServerProcess, eventually
from raw import args, by_hand, received, said, zmtp
from ringback import Server, Service, errors
from ringback.clients import asyncio as awaiting
from ringback.clients import threading as blocking
from ringback.protocol.messages import Call
from ringback.transport.native import client as native_client
from ringback.transport.native import keeper
from ringback.zmtp.connection import Connection
from serving import BEAT, SILENT, TTL, hurry, serving

BLOCKED = 2.5  # more than either takes


@pytest.fixture(autouse=True)
def quicker(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)


@pytest.fixture
def service() -> Service:
    made = Service("still")
    made.method(name="sleep", inline=True)(lambda seconds: time.sleep(seconds))
    made.method(name="echo", inline=True)(lambda value: value)
    made.method(name="make", inline=True)(lambda size: bytes(size))
    return made


@asynccontextmanager
async def watched(endpoint: str, method: str, *values: int) -> AsyncIterator[tuple[Any, list[str]]]:
    """A client that has been answered the sum of these, and the states that it has from then on."""
    states: list[str] = []
    async with awaiting.connect(endpoint, transport="native", timeout=SOON) as client:
        assert await client.call(method, *values) == sum(values)
        client.on_state(states.append)
        yield client, states


def test_a_server_whose_loop_stands_still_is_busy_and_keeps_its_clients(service: Service) -> None:
    async def main(endpoint: str) -> list[str]:
        async with watched(endpoint, "echo", 1) as (client, states):
            await client.call("sleep", BLOCKED)
            while client.state != "ready":
                await asyncio.sleep(0.01)
        return states

    with (
        serving(service) as server,
        closing(blocking.connect(server.endpoint, transport="native", timeout=SOON)) as other,
    ):
        assert other.call("echo", 1) == 1
        assert asyncio.run(main(server.endpoint)) == ["busy", "ready"]
        assert other.call("echo", 2) == 2
        assert other.call("sleep", BLOCKED) is None


def test_a_client_whose_loop_stands_still_keeps_its_connection(service: Service) -> None:
    async def main(endpoint: str) -> list[str]:
        async with watched(endpoint, "echo", 1) as (client, states):
            time.sleep(BLOCKED)
            assert await client.call("echo", 2) == 2
        return states

    with serving(service) as server:
        assert asyncio.run(main(server.endpoint)) == []


@pytest.fixture
def stopped(start_server: Callable[..., ServerProcess], backend: str) -> ServerProcess:
    return start_server(backend, "service", "--transport", "native")


def test_a_server_that_is_stopped_is_stalled_then_lost_and_found_again(
    stopped: ServerProcess,
) -> None:
    async def main() -> None:
        async with watched(stopped.endpoint, "add", 1, 2) as (client, states):
            os.kill(stopped.process.pid, signal.SIGSTOP)
            begun = time.monotonic()
            with pytest.raises(errors.Unavailable):
                await client.call("add", 1, 2)
            assert SILENT - BEAT < time.monotonic() - begun < SILENT + 5.0
            os.kill(stopped.process.pid, signal.SIGCONT)
            assert await client.call("add", 1, 2) == 3
        assert states[0] == "stalled"
        assert states[-1] == "ready"

    asyncio.run(main())


def test_a_server_whose_interpreter_is_held_is_stalled_then_lost_and_found_again(
    stopped: ServerProcess,
) -> None:
    held = SILENT + 2.0

    async def main() -> None:
        async with watched(stopped.endpoint, "add", 1, 2) as (client, states):
            begun = time.monotonic()
            with pytest.raises(errors.Unavailable):
                await client.call("hold_interpreter", held)
            assert time.monotonic() - begun < held
            assert await client.call("add", 1, 2) == 3
            assert time.monotonic() - begun > held
        assert states[0] == "stalled"
        assert states[-1] == "ready"

    asyncio.run(main())


def test_a_server_that_is_stopped_for_a_moment_is_ready_again(
    stopped: ServerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(native_client, "SILENT", SOON)

    async def main() -> None:
        async with watched(stopped.endpoint, "add", 1, 2) as (client, states):
            os.kill(stopped.process.pid, signal.SIGSTOP)
            while client.state != "stalled":
                await asyncio.sleep(0.01)
            os.kill(stopped.process.pid, signal.SIGCONT)
            while client.state != "ready":
                await asyncio.sleep(0.01)
        assert states == ["stalled", "ready"]

    asyncio.run(main())


def test_new_calls_go_to_another_than_the_server_that_is_stalled(
    stopped: ServerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is in flight: the heartbeats tell."""
    monkeypatch.setattr(native_client, "SILENT", SOON)
    other = Service("tests")
    other.method(name="add", inline=True)(lambda a, b: a + b)

    async def main(endpoint: str) -> None:
        async with awaiting.connect(
            stopped.endpoint, endpoint, transport="native", timeout=SOON
        ) as client:
            assert await asyncio.gather(*(client.call("add", 1, n) for n in range(20))) == list(
                range(1, 21)
            )
            machine = client._shared.core.machine
            while any(link.state.value != "open" for link in machine.links):
                await asyncio.sleep(0.01)
            os.kill(stopped.process.pid, signal.SIGSTOP)
            while all(link.liveness.value == "ready" for link in machine.links):
                await asyncio.sleep(0.01)
            assert client.state == "ready"
            for number in range(50):
                begun = time.monotonic()
                assert await client.call("add", 1, number) == number + 1
                # After that time a server is asked whether it is there.
                assert time.monotonic() - begun < 0.25
            os.kill(stopped.process.pid, signal.SIGCONT)

    with Server(other, "tcp://127.0.0.1:*", backend="threading", transport="native") as server:
        asyncio.run(main(server.endpoint))


def test_no_ping_is_said_inside_a_frame(service: Service) -> None:
    """Of an answer of which the socket has taken a part, while the loop stands still."""
    size = 16_000_000
    with serving(service) as server, by_hand(server.endpoint) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        connection.sendall(zmtp(said(Call(1, "make", args(size)), Call(2, "sleep", args(1.0)))[0]))
        connection.sendall(zmtp(said(Call(3, "sleep", args(1.0)))[0]))
        time.sleep(1.5)
        machine = Connection(b"DEALER")
        machine.feed(Connection(b"ROUTER").take_out()[0])  # by hand it has greeted already
        machine.open = True
        connection.settimeout(SOON)
        messages: list[Any] = []
        while (
            sum(len(frame) for message in messages for frame in message) < size or len(messages) < 3
        ):
            messages += machine.feed(connection.recv(1 << 20))
        assert max(len(frame) for message in messages for frame in message) >= size


def test_who_sends_a_large_value_slowly_is_heard(service: Service) -> None:
    """Of a large frame that comes fast, the server waits for half a mebibyte.

    Then it comes slowly, for longer than it may be silent.
    """
    first, value = said(Call(1, "echo", args(bytes(1 << 20))))
    frames = zmtp(first, more=True) + zmtp(value)
    with serving(service) as server, by_hand(server.endpoint) as connection:
        connection.sendall(zmtp(b"\x04PING" + int(TTL * 10).to_bytes(2, "big"), command=True))
        sent = 200_000
        connection.sendall(frames[:sent])
        end = time.monotonic() + 4 * TTL
        while time.monotonic() < end:
            connection.sendall(frames[sent : sent + 1000])
            sent += 1000
            time.sleep(0.05)  # as slow as that
        connection.sendall(frames[sent:])
        connection.settimeout(SOON)
        heard = 0
        while heard < 1 << 20:
            heard += len(received(connection))


def test_the_keeper_is_there_as_long_as_somebody_needs_it(service: Service) -> None:
    one = keeper.keeper
    with serving(service):
        assert one._runs
    eventually(lambda: not one._runs)
