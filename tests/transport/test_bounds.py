"""What a native server takes from its clients at most, and keeps for them: at a bound it slows
down, refuses, or cuts off who does harm.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from typing import Any

import pytest
from processes import SOON, eventually
from raw import args, by_hand, said, zmtp
from ringback import Server, Service, errors
from ringback.clients import threading as blocking
from ringback.protocol.messages import Call, Ping
from ringback.server.connections import outgoing
from ringback.transport.native import server as native_server
from serving import is_closed, serving

MIB = 1 << 20


@pytest.fixture
def service() -> Service:
    made = Service("bounded")
    made.method(name="length", inline=True)(len)
    made.method(name="echo", inline=True)(lambda value: value)
    made.method(name="make", inline=True)(lambda size: bytes(size))
    return made


@pytest.fixture
def halves(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Server, list[socket.socket]]]:
    """A server that keeps 4 MiB of unserved bytes, and five connections that each have sent 2 MiB
    of a message of 3, as far as it read.
    """
    monkeypatch.setattr(native_server, "LOOK", 0.2)
    with serving(service, max_size=4 * MIB, max_unserved=4 * MIB) as server, ExitStack() as stack:
        many = [stack.enter_context(by_hand(server.endpoint)) for _ in range(5)]
        part = zmtp(bytes(3 * MIB))[: 2 * MIB]
        for connection in many:
            connection.setblocking(False)
        unsent = dict.fromkeys(many, part)
        deadline = time.monotonic() + 1.0
        # What the server does not read, the system may take, up to its own bounds.
        while any(unsent.values()) and time.monotonic() < deadline:
            for connection, rest in unsent.items():
                with suppress(BlockingIOError):
                    unsent[connection] = rest[connection.send(rest) :] if rest else rest
            time.sleep(0.01)
        yield server, many


def test_parts_of_messages_are_bounded_together_and_small_calls_go_on(halves: Any) -> None:
    server, _ = halves
    intake = server._core.end.turns.intake
    assert intake._total <= 4 * MIB + 5 * 65_536
    assert intake.read < 65_536
    with closing(blocking.connect(server.endpoint, transport="native", timeout=SOON)) as client:
        assert [client.call("length", b"x" * size) for size in (0, 10, 3000)] == [0, 10, 3000]


def test_who_does_not_go_on_while_others_wait_is_cut_off(
    halves: Any, caplog: pytest.LogCaptureFixture
) -> None:
    server, many = halves
    with closing(blocking.connect(server.endpoint, transport="native", timeout=SOON)) as client:
        assert client.call("length", bytes(3 * MIB)) == 3 * MIB
    eventually(
        lambda: "an unfinished message was too slow while other connections waited" in caplog.text
    )
    intake = server._core.end.turns.intake
    assert intake._total <= 4 * MIB + 5 * 65_536
    for connection in many:
        connection.close()
    eventually(lambda: intake._total == 0 and not intake._paused and intake.read == 65_536)


def test_large_values_of_many_honest_clients_wait_for_each_other(service: Service) -> None:
    size, outcomes = 3 * MIB, []
    with serving(service, max_size=4 * MIB, max_unserved=4 * MIB) as server:

        def call() -> None:
            with closing(
                blocking.connect(server.endpoint, transport="native", timeout=2 * SOON)
            ) as client:
                outcomes.extend(client.call("length", bytes(size)) for _ in range(5))

        callers = [threading.Thread(target=call) for _ in range(8)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
        assert server._core is not None
        eventually(lambda: server._core.end.turns.intake._total == 0)
    assert outcomes == [size] * 40


def all_silent(out: outgoing.Outgoing) -> bool:
    """Whether no client for which answers wait has read any of them lately."""
    return all(time.monotonic() - held.since > outgoing.NOT_READING for held in out.held.values())


def test_answers_of_all_clients_are_bounded_together_and_who_reads_is_served(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    """Ten clients that read nothing, of which none reaches the bound of one."""
    with serving(service, max_size=8 * MIB, max_unsent=8 * MIB) as server, ExitStack() as stack:
        out = server._core._out
        reads = stack.enter_context(
            closing(blocking.connect(server.endpoint, transport="native", timeout=SOON))
        )
        assert reads.call("length", b"xyz") == 3
        calls = zmtp(said(*(Call(number, "make", args(100_000)) for number in range(1, 61)))[0])
        for _ in range(10):
            connection = stack.enter_context(by_hand(server.endpoint))
            connection.sendall(calls)
            assert reads.call("length", b"xyz") == 3
            assert out._total <= 8 * MIB + 60 * 100
        assert "this reply was dropped" in caplog.text
        eventually(lambda: all_silent(out))
        silent = len(out.held)
        assert reads.call("echo", bytes(4 * MIB)) == bytes(4 * MIB)
        assert len(out.held) < silent


def test_beside_many_answers_that_wait_nobody_gets_more_of_them_who_does_not_read(
    service: Service,
) -> None:
    with serving(service, max_size=8 * MIB, max_unsent=24 * MIB) as server, ExitStack() as stack:
        out = server._core._out
        calls = zmtp(said(*(Call(number, "make", args(100_000)) for number in range(1, 91)))[0])
        many = [stack.enter_context(by_hand(server.endpoint)) for _ in range(3)]
        for connection in many:
            # (else the system takes as much)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
            connection.sendall(calls)
        eventually(lambda: out._total > 12 * MIB)
        eventually(lambda: all_silent(out))
        before = out._total
        for connection in many:
            connection.sendall(
                zmtp(said(*(Call(number, "make", args(100_000)) for number in range(100, 140)))[0])
            )
        with closing(blocking.connect(server.endpoint, transport="native", timeout=SOON)) as reads:
            assert len(reads.call("make", 6 * MIB)) == 6 * MIB
        assert before <= out._total < before + 100_000


def why_not(client: Any) -> str:
    """What a call that does not wait is told."""
    with pytest.raises(errors.Unavailable) as caught:
        client.call("length", b"")
    return caught.value.message


def test_newcomers_are_told_while_all_connections_have_spoken_and_come_back(
    service: Service,
) -> None:
    with serving(service, max_connections=2) as server, ExitStack() as stack:
        first, second, third = (
            stack.enter_context(
                closing(blocking.connect(server.endpoint, transport="native", timeout=SOON))
            )
            for _ in range(3)
        )
        assert first.call("length", b"1") == 1
        assert second.call("length", b"12") == 2
        waits = third.fire("length", b"123")
        told = third.options(wait_for_ready=False)
        eventually(
            lambda: why_not(told).endswith(
                "refuses the connection: the server has reached its limit of connections"
            )
        )
        assert not waits.done()
        assert [client.call("length", b"1") for client in (first, second)] == [1, 1]
        first.close()
        assert waits.result(SOON) == 3


def test_a_bound_of_time_is_an_option(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native_server, "LOOK", 0.05)
    with (
        serving(service, handshake_timeout=30.0, hello_timeout=0.3) as server,
        by_hand(server.endpoint, hello=False) as silent,
        by_hand(server.endpoint) as speaks,
    ):
        assert is_closed(silent)
        speaks.sendall(zmtp(said(Ping(7))[0]))
        speaks.settimeout(SOON)
        assert speaks.recv(4096)


@pytest.fixture(autouse=True)
def heard(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
