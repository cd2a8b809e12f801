"""With CURVE a call is made as without; and who does not get in is told so, at once and in words,
in every style.
"""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from processes import ServerProcess
from promises import promise
from ringback import errors
from ringback.security import keys
from styles import Items, Together

SERVICE = Path(__file__).parent.parent / "security" / "guarded.py"

# Seconds until who is refused knows it, also on a busy machine: a tenth of that is usual.
AT_ONCE = 3.0


@pytest.fixture(scope="session")
def key_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Keys of a server, of alice, whom it knows, and of mallory."""
    home = tmp_path_factory.mktemp("keys")
    for name in ("server", "alice", "mallory"):
        keys.make(home, name)
    (home / "authorized").mkdir()
    os.link(home / "alice.key", home / "authorized" / "alice.key")
    return home


@pytest.fixture(scope="session")
def guarded_servers(key_files: Path) -> Iterator[Callable[[str], ServerProcess]]:
    servers: dict[str, ServerProcess] = {}
    words = (
        "--secret-key",
        f"{key_files}/server.key_secret",
        "--authorized-keys",
        f"{key_files}/authorized",
    )

    def get(backend: str) -> ServerProcess:
        if backend not in servers:
            servers[backend] = ServerProcess(backend, "service", *words, path=SERVICE)
        return servers[backend]

    yield get
    try:
        assert {backend: server.stop() for backend, server in servers.items()} == dict.fromkeys(
            servers, 0
        )
    finally:
        for server in servers.values():
            server.kill()


@pytest.fixture
def guarded(pair: Any, guarded_servers: Callable[[str], ServerProcess]) -> str:
    return guarded_servers(pair.backend).endpoint


@pytest.fixture
def known(key_files: Path) -> dict[str, Any]:
    return {"server_key": key_files / "server.key", "secret_key": key_files / "alice.key_secret"}


@promise
def test_an_encrypted_call_is_a_call_and_tells_its_user(client, pair, guarded, known):
    guest = pair.connect(guarded, **known)
    assert (yield guest.call("whoami")) == "alice"
    assert (yield guest.fire("whoami_in_a_worker")) == "alice"
    large = b"x" * 200_000
    assert (yield Together(*[lambda: guest.call("echo", large)] * 5)) == [large] * 5
    assert (yield Items(guest.stream("count", 300))) == list(range(300))
    assert (yield guest.fire_map("echo", range(300), chunksize=100)) == list(range(300))
    assert (yield guest.fire_map("hold", [0.0] * 50)) == ["held"] * 50


@promise
def test_without_curve_there_is_no_user(client, pair):
    assert (yield client.call("whoami")) == ""


def refused(pair: Any, endpoint: str, said: str, **given: Any) -> Any:
    refused_ = pair.connect(endpoint, **given)
    begin = time.monotonic()
    fired = refused_.fire("whoami", errback=lambda error: None)
    with pytest.raises(errors.Unauthenticated) as caught:
        yield refused_.call("whoami")
    with pytest.raises(errors.Unauthenticated):
        yield fired
    seconds = time.monotonic() - begin
    logging.getLogger("ringback.tests").info("refused after %.3f s: %s", seconds, caught.value)
    assert seconds < AT_ONCE
    assert re.search(said, str(caught.value))
    assert endpoint in str(caught.value)
    with pytest.raises(errors.Unauthenticated):  # and for good
        yield refused_.call("whoami")
    assert refused_.state == "closed"


@promise
def test_an_unknown_key_is_unauthenticated_at_once(client, pair, guarded, known, key_files):
    given = {**known, "secret_key": key_files / "mallory.key_secret"}
    yield from refused(pair, guarded, "does not know this client's key", **given)


@promise
def test_a_wrong_server_key_is_unauthenticated_after_three_handshakes(
    client, pair, guarded, known, key_files
):
    given = {**known, "server_key": key_files / "mallory.key"}
    yield from refused(
        pair, guarded, "broken off 3 times in a row: the server_key is not that server's", **given
    )


@promise
def test_a_client_without_keys_is_unauthenticated_by_a_server_with(client, pair, guarded):
    yield from refused(pair, guarded, "uses CURVE: give its public key as server_key")


@promise
def test_a_client_with_keys_does_not_speak_to_a_server_without(client, pair, known):
    # (Where both ends are on one machine, it is a race which of them sees first what the other is.)
    yield from refused(
        pair, pair.endpoint, "does not use CURVE|broken off 3 times in a row", **known
    )
