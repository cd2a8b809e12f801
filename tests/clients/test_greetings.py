"""The mechanism in a server's greeting, and that it is asked where libzmq does not tell."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from processes import ServerProcess, chosen_backends
from ringback.security import keys
from ringback.transport.libzmq import greetings
from ringback.transport.libzmq.greetings import mechanism_of

ANY = chosen_backends()[0]


@pytest.fixture(params=["tcp://127.0.0.1:*", "ipc"])
def bind(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"ipc://{tmp_path}/socket" if request.param == "ipc" else request.param


def served(bind: str, *words: str) -> Iterator[str]:
    server = ServerProcess(ANY, "service", *words, bind=(bind,))
    try:
        yield server.endpoint
    finally:
        server.kill()


def test_a_server_without_keys_says_null(bind: str) -> None:
    for endpoint in served(bind):
        assert mechanism_of(endpoint) == "NULL"


def test_a_server_with_keys_says_curve(bind: str, tmp_path: Path) -> None:
    keys.make(tmp_path, "server")
    (tmp_path / "authorized").mkdir()
    keys_of = (
        "--secret-key",
        f"{tmp_path}/server.key_secret",
        "--authorized-keys",
        f"{tmp_path}/authorized",
    )
    os.link(tmp_path / "server.key", tmp_path / "authorized" / "server.key")
    for endpoint in served(bind, *keys_of, "--transport", "libzmq"):
        assert mechanism_of(endpoint) == "CURVE"


def test_what_does_not_say_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(greetings, "PATIENCE", 0.1)
    assert mechanism_of("tcp://127.0.0.1:1") == ""
    assert mechanism_of("tcp://no.such.host.invalid:5555") == ""
    assert mechanism_of("ipc:///no/such/socket") == ""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert mechanism_of(f"tcp://127.0.0.1:{silent.getsockname()[1]}") == ""
    with socket.create_server(("127.0.0.1", 0)) as closing:
        threading.Thread(target=lambda: closing.accept()[0].close()).start()
        assert mechanism_of(f"tcp://127.0.0.1:{closing.getsockname()[1]}") == ""
