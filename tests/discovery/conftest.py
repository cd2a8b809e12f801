"""Registries in real stores, and sources that are watched."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from processes import eventually
from registries import Watched, of_service
from ringback.discovery import Source, registry, source_of
from ringback.discovery.announcement import Announcement
from ringback.discovery.listing import announced as listed
from ringback.state import open_state
from stores import Valkey


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who watches in this process looks more often."""
    monkeypatch.setattr(registry, "PAUSE", 0.1)


@pytest.fixture(params=["sqlite", "valkey"])
def url(request: pytest.FixtureRequest) -> str:
    """An empty registry, as servers know it."""
    return str(request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path / 'registry.db'}"
    open_state(url).close()
    return url


@pytest.fixture
def valkey_url(shared_valkey: Valkey) -> str:
    return shared_valkey.url()


@pytest.fixture
def watched() -> Iterator[Callable[..., Watched]]:
    """`watched(url)`: the servers of calc in that registry; `watched(source=...)`: any source."""
    all_of_them: list[Watched] = []

    def watch(url: str = "", *, source: Source | None = None) -> Watched:
        all_of_them.append(Watched(source or source_of(of_service(url))))
        return all_of_them[-1]

    yield watch
    for each in all_of_them:
        each.source.close()


@pytest.fixture
def announced() -> Iterator[Callable[..., Announcement]]:
    """`announced(url, endpoint, ...)`: a server of calc that is there until the test is over. Its
    rows are in the store, unless that is
    `away`."""
    all_of_them: list[Announcement] = []

    def announce(
        url: str, *endpoints: str, service: str = "calc", away: bool = False, **about: object
    ) -> Announcement:
        all_of_them.append(Announcement(url, service, **about))  # type: ignore[arg-type]
        all_of_them[-1].start(endpoints)
        if not away:
            eventually(lambda: set(endpoints) <= {row.endpoint for row in listed(url)})
        return all_of_them[-1]

    yield announce
    for each in all_of_them:
        each.close()
