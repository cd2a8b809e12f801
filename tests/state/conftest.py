"""Each test of a state store is made on both engines: an SQLite file of its own, and its own part of a real Valkey server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ringback.state import State, open_state
from stores import Client, Valkey


@pytest.fixture(params=["sqlite", "valkey"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty store."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'state.db'}"
    server: Valkey = request.getfixturevalue("shared_valkey")
    return server.url()


@pytest.fixture
def opened() -> Iterator[Callable[[str], State]]:
    """`opened(url)`: a store that is closed when the test is over."""
    states: list[State] = []

    def make(url: str) -> State:
        states.append(open_state(url))
        return states[-1]

    yield make
    for state in states:
        state.close()


@pytest.fixture
def state(url: str, opened: Callable[[str], State]) -> State:
    return opened(url)


@pytest.fixture
def client() -> Iterator[Callable[..., Client]]:
    """`client(work, url, ...)`: a process that does it, ended with the test."""
    clients: list[Client] = []

    def start(*words: object) -> Client:
        clients.append(Client(*words))  # type: ignore[arg-type]
        return clients[-1]

    yield start
    for each in clients:
        each.close()
