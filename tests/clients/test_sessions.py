"""What a handler's own calls have seen comes back to its caller, and what that has seen goes with
them, whatever their options.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import ringback
from ringback.clients.threading import ThreadingClient
from ringback.commands.arguments import load_service

COPIED = Path(__file__).parent.parent / "server" / "calls" / "copied.py"

# What a service may ask of the calls that its handlers make.
OPTIONS = [
    {},
    {"hedge": True},
    {"affinity": "a"},
    {"session": True},
    {"session": {"other": 3}},
    {"hedge": True, "session": True},
]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('sessions') / 'state.db'}?synchronous=normal"


@pytest.fixture(scope="module")
def between(url: str) -> Iterator[ringback.Server]:
    """A service that calls another, `copied`, which has a primary."""
    service = ringback.Service("between")

    @service.method
    def put(options: dict, key: str, value: int) -> None:
        ringback.current_call().app.options(**options).call("put", key, value)

    @service.method
    def seen(options: dict) -> dict:
        """What a call of this handler says that it has seen."""
        return ringback.current_call().app.options(**options).call("nested", {})

    @service.lifespan
    def copied():
        with ringback.connect(primary.endpoint) as client:
            yield client

    settings = {"bind": "tcp://127.0.0.1:*", "backend": "threading"}
    with (
        ringback.Server(
            load_service(f"{COPIED}:service"), role="primary", state=url, **settings
        ) as primary,
        ringback.Server(service, **settings) as server,
    ):
        yield server


@pytest.fixture
def client(between: ringback.Server, connected) -> ThreadingClient:
    return connected(between.endpoint)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_what_a_handler_has_written_comes_back_to_its_caller(client, url, options):
    session = client.options(session={})
    session.call("put", options, "key", 1)
    with ringback.open_state(url) as state:
        assert session.versions["copied"] >= state.read("key").version > 0


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_what_its_caller_has_seen_goes_with_the_calls_of_a_handler(client, options):
    session = client.options(session={"other": 7, "more": 1})
    assert session.call("seen", options).items() >= {"other": 7, "more": 1}.items()


def test_a_handler_with_a_session_of_its_own_has_both(client):
    session = client.options(session={"other": 7, "more": 1})
    seen = session.call("seen", {"session": {"other": 9, "less": 2}})
    assert seen.items() >= {"other": 9, "more": 1, "less": 2}.items()
