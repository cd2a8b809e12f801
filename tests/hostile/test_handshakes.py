"""Floods of handshakes with keys, beside an honest client that calls all the time: cryptography
costs, and costs only in turns.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from processes import SOON, ServerProcess, eventually
from raw import Honest, Watch, address, descriptors, reset, resident
from ringback.security import keys
from ringback.zmtp import curve
from ringback.zmtp.connection import Connection
from ringback.zmtp.errors import ZmtpError
from sizes import size
from zmtp_ends import said

GROWTH = 64 * 1024 * 1024
SECONDS = size(0.5, 5.0)
LATER = size(0.6, 0.05)

# What an attacker knows: the endpoint and the server's public key.
Attack = Callable[[str, bytes], None]


def until_it_is_over() -> Iterator[int]:
    end, number = time.monotonic() + SECONDS, 0
    while time.monotonic() < end:
        number += 1
        yield number


def connected(endpoint: str) -> socket.socket:
    return socket.create_connection(address(endpoint), SOON)


def stranger(server: bytes) -> Connection:
    return Connection(b"DEALER", curve.CurveClient(server, *curve.keypair()))


def greeted(connection: socket.socket, end: Connection) -> bytes:
    """Both have greeted; what was said from here."""
    greeting = said(end)
    connection.sendall(greeting)
    heard = b""
    while len(heard) < 64:
        heard += connection.recv(4096)
    end.feed(heard)
    return greeting


def hello_of(endpoint: str, server: bytes) -> bytes:
    """A greeting and a HELLO that the server answers, to be said again and again."""
    end = stranger(server)
    with connected(endpoint) as connection:
        return greeted(connection, end) + said(end)


def hellos_and_resets(endpoint: str, server: bytes) -> None:
    """Each costs the server a pair of keys and three products; the attacker, nothing."""
    hello = hello_of(endpoint, server)
    for _ in until_it_is_over():
        with ExitStack() as stack:
            many = [stack.enter_context(connected(endpoint)) for _ in range(20)]
            for connection in many:
                connection.sendall(hello)
            for connection in many:
                reset(connection)


def hellos_that_stay(endpoint: str, server: bytes) -> None:
    hello = hello_of(endpoint, server)
    with ExitStack() as stack:
        for _ in range(size(100, 2000)):
            stack.enter_context(connected(endpoint)).sendall(hello)
        time.sleep(SECONDS)


def unknown_keys(endpoint: str, server: bytes) -> None:
    for _ in until_it_is_over():
        end = stranger(server)
        with connected(endpoint) as connection, suppress(ZmtpError, ConnectionError):
            greeted(connection, end)
            while True:
                connection.sendall(said(end))
                heard = connection.recv(4096)
                if not heard:
                    break
                end.feed(heard)


def hellos_for_another_server(endpoint: str, server: bytes) -> None:
    unknown_keys(endpoint, curve.keypair()[0])


def noise_behind_a_greeting(endpoint: str, server: bytes) -> None:
    greeting = said(stranger(server))
    for number in until_it_is_over():
        with connected(endpoint) as connection, suppress(ConnectionError):
            connection.sendall(greeting + os.urandom(1 + number % 5000))


def initiates_without_end(endpoint: str, server: bytes) -> None:
    """Frames that say that they are an INITIATE of 60,000 bytes."""
    for _ in until_it_is_over():
        end = stranger(server)
        with connected(endpoint) as connection, suppress(ConnectionError):
            greeted(connection, end)
            connection.sendall(said(end))
            connection.recv(4096)
            connection.sendall(
                b"\x06" + (60_000).to_bytes(8, "big") + b"\x08INITIATE" + bytes(59_000)
            )


ATTACKS = (
    hellos_and_resets,
    hellos_that_stay,
    unknown_keys,
    hellos_for_another_server,
    noise_behind_a_greeting,
    initiates_without_end,
)


@pytest.mark.timeout(size(120, 600))
def test_floods_of_handshakes_harm_nobody_who_is_in(
    backend: str, tmp_path: Path, table: list
) -> None:
    authorized = tmp_path / "authorized"
    for name in ("server", "honest"):
        keys.make(tmp_path, name)
    authorized.mkdir()
    (tmp_path / "honest.key").rename(authorized / "honest.key")
    secret = tmp_path / "server.key_secret"
    words = ("--secret-key", str(secret), "--authorized-keys", str(authorized))
    server_key, _ = keys.read_secret(secret).raw
    server = ServerProcess(backend, "service", "--handshake-timeout", "2", *words)
    pid = server.process.pid
    honest = Honest(
        server.endpoint, str(tmp_path / "server.key"), str(tmp_path / "honest.key_secret")
    )
    try:
        with honest.calling():
            time.sleep(size(0.5, 3.0))
        idle, before, open_ = honest.quantile(0.99), resident(pid), descriptors(pid)
        for attack in ATTACKS:
            lines, begun = server.log.count("\n"), time.monotonic()
            with Watch(pid) as watch, honest.calling():
                attack(server.endpoint, server_key)
            seconds = time.monotonic() - begun
            eventually(lambda: descriptors(pid) <= open_ + 5)
            more = (watch.most - before) / 1048576, (resident(pid) - before) / 1048576
            took = (honest.quantile(part) * 1000 for part in (0.5, 0.99, 1))
            table.append(
                (backend, attack.__name__.replace("_", " "), len(honest.took), *took, *more, 0.0)
            )
            assert honest.wrong == [], attack
            assert watch.most - before < GROWTH, attack
            assert honest.quantile(0.99) < idle + LATER, attack
            assert server.log.count("\n") - lines <= 6 * (seconds + 2), server.log[-5000:]
        honest.close()
        assert server.stop() == 0, server.log
    finally:
        server.kill()
