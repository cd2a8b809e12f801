"""Keys for each test, and servers within this process that ask for them."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import ringback
from ringback.security import keys


class Keys:
    """A directory of pairs, and one of the public keys that a server is to let in."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.authorized = home / "authorized"
        self.authorized.mkdir(mode=0o755)
        self.make("server")

    def make(self, name: str, *, authorized: bool = False) -> dict[str, Any]:
        """A new pair; what a client with it is given."""
        keys.make(self.home, name)
        if authorized:
            self.authorize(name)
        return self.of(name)

    def of(self, name: str) -> dict[str, Any]:
        return {"server_key": self.public("server"), "secret_key": self.secret(name)}

    def public(self, name: str) -> Path:
        return self.home / f"{name}.key"

    def secret(self, name: str) -> Path:
        return self.home / f"{name}.key_secret"

    def authorize(self, name: str, under: str | None = None) -> None:
        """As a careful administrator does it: the file is whole when it is there."""
        entry = self.authorized / f"{under or name}.key"
        whole = self.home / "whole"
        whole.write_bytes(self.public(name).read_bytes())
        os.replace(whole, entry)

    def revoke(self, name: str) -> None:
        (self.authorized / f"{name}.key").unlink()

    @property
    def server(self) -> dict[str, Any]:
        return {"secret_key": self.secret("server"), "authorized_keys": self.authorized}

    @property
    def options(self) -> tuple[str, ...]:
        return "--secret-key", str(self.secret("server")), "--authorized-keys", str(self.authorized)

    def secrets(self) -> list[str]:
        """All that no log and no text may have."""
        return [keys.read_secret(path).secret.decode() for path in self.home.glob("*.key_secret")]


@pytest.fixture
def pairs(tmp_path: Path) -> Keys:
    return Keys(tmp_path)


@pytest.fixture
def serving(pairs: Keys) -> Iterator[Callable[..., ringback.Server]]:
    """`serving(service, **options)`: a server in a thread of this process, with the test's keys if
    nothing else is said.
    """
    begun: list[ringback.Server] = []

    def serve(
        service: ringback.Service, bind: str = "tcp://127.0.0.1:*", **options: Any
    ) -> ringback.Server:
        given = {"backend": "threading", "drain_timeout": 0.2, **pairs.server, **options}
        server = ringback.Server(service, bind, **given)
        server.__enter__()
        begun.append(server)
        return server

    yield serve
    for server in begun:
        if server._loop is not None:
            server.__exit__(None, None, None)


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with caplog.at_level(logging.DEBUG):
        yield caplog
