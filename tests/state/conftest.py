"""Each test of a state store is made on all engines: an SQLite file of its own, its own part of a
real Valkey server, and memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ringback.state import State, open_state
from stores import Client, Valkey


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A store in memory is tested too, where neither another process nor a later start is to find
    what is in it.
    """
    if "store_kind" in metafunc.fixturenames:
        others = {"client", "start_server", "running_server"} & set(
            metafunc.fixturenames
        )  # in other processes
        lasting = others or any(metafunc.definition.iter_markers("lasting"))
        kinds = ["sqlite", "valkey"] if lasting else ["sqlite", "memory", "valkey"]
        metafunc.parametrize("store_kind", kinds)


@pytest.fixture
def url(store_kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty store."""
    if store_kind == "sqlite":
        return f"sqlite:///{tmp_path / 'state.db'}"
    if store_kind == "memory":
        return f"memory://{tmp_path.name}"
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
