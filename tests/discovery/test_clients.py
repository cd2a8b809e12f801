"""A client whose servers are found: what becomes of the connection to one that is no longer among
them.
"""

from __future__ import annotations

import os
import signal

import pytest
from processes import SOON, eventually
from registries import of_service
from ringback.clients.connections import core


@pytest.fixture
def here(start_server, announced, connected, sqlite_url):
    """`here`: a client of two servers that others have announced, and how to take one of them back."""
    servers = [start_server("asyncio", "many") for _ in range(2)]
    rows = [announced(sqlite_url, server.endpoint) for server in servers]
    client = connected(of_service(sqlite_url))
    eventually(lambda: len({client.call("whoami") for _ in range(20)}) == 2)
    return client, servers, rows


def endpoints(client) -> list[str]:
    client.call("whoami")  # a blocking client notices when it is used
    return [link.endpoint for link in client._shared.core.machine.links]


def test_a_server_that_is_taken_from_the_list_finishes_its_calls_and_is_let_go(here, monkeypatch):
    monkeypatch.setattr(core, "GRACE", 0.1)
    client, servers, rows = here
    there = [client.fire("change", number, 2.0) for number in range(4)]
    rows[1].close()
    eventually(lambda: endpoints(client) == [servers[0].endpoint])
    assert not any(future.done() for future in there)
    assert {future.result(SOON)[1] for future in there} == {
        server.process.pid for server in servers
    }
    eventually(lambda: client.call("whoami") and len(client._shared.core._wires) == 1)
    assert {client.call("whoami") for _ in range(20)} == {servers[0].process.pid}


def test_a_server_that_is_still_there_when_its_row_is_back_is_kept(
    here, monkeypatch, announced, sqlite_url
):
    monkeypatch.setattr(core, "GRACE", 2.0)
    client, servers, rows = here
    rows[1].close()
    announced(sqlite_url, servers[1].endpoint)
    wires = list(client._shared.core._wires)
    assert sorted(endpoints(client)) == sorted(server.endpoint for server in servers)
    assert client._shared.core._wires == wires


def test_a_server_that_drains_when_it_is_off_the_list_is_not_looked_for_again(here):
    client, servers, rows = here
    held = client.fire("change", "held", 2.0)
    rows[1].close()
    eventually(
        lambda: (
            client.call("whoami")
            and list(client._shared.core._told.values()) == [[servers[0].endpoint]]
        )
    )
    os.kill(servers[1].process.pid, signal.SIGTERM)
    eventually(lambda: endpoints(client) == [servers[0].endpoint])
    assert held.result(SOON)[0] == "held"
