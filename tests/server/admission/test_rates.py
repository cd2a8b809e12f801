"""Calls a second of each client: what is over the rate is refused unstarted, whoever keeps to it is
not touched.
"""

from __future__ import annotations

import time

import pytest
import ringback
from processes import SOON
from ringback import errors
from ringback.clients.threading import connect
from ringback.protocol.server import ServerMachine, Session


def outcomes(client, calls: int) -> list[type]:
    futures = [client.fire("add_inline", 1, 2) for _ in range(calls)]
    return [type(future.exception(SOON)) for future in futures]


def test_what_is_over_the_rate_is_refused_and_others_are_not_touched(
    start_server, connected, backend
):
    server = start_server(backend, "service", "--rate", "0.5", "--burst", "20")
    greedy, polite = connected(server.endpoint), connected(server.endpoint)
    began = time.monotonic()
    ended = outcomes(greedy, 100)
    within = ended.count(type(None))
    assert 20 <= within <= 20 + 0.5 * (time.monotonic() - began)
    assert ended.count(errors.ResourceExhausted) == 100 - within
    with pytest.raises(errors.ResourceExhausted, match=r"more than 0\.5 calls a second"):
        greedy.call("add", 1, 2)
    assert polite.call("add", 1, 2) == 3
    polite.notify("marked_inline", "rates", 1)
    assert polite.call("marks", "rates") == ["called with 1"]
    greedy.notify("marked_inline", "rates", 2)
    assert server.logged("dropped: more than 0.5 calls a second")
    assert polite.call("marks", "rates") == ["called with 1"]
    assert server.stop() == 0


def test_a_client_that_waits_may_call_again(start_server, connected, backend):
    server = start_server(backend, "service", "--rate", "20", "--burst", "1")
    client = connected(server.endpoint)
    deadline, done = time.monotonic() + SOON, 0
    while done < 5:
        assert time.monotonic() < deadline
        try:
            done += client.call("add", 1, 2) == 3
        except errors.ResourceExhausted:
            time.sleep(0.02)


def test_all_connections_of_one_key_share_its_rate_and_a_rule_has_its_own(monkeypatch, tmp_path):
    connected = ServerMachine.connected
    users = iter(["alice", "alice", "bob"])

    def by_name(machine: ServerMachine, address: bytes, peer: str) -> Session:
        session = connected(machine, address, peer)
        session.user = next(users)
        return session

    monkeypatch.setattr(ServerMachine, "connected", by_name)
    service = ringback.Service("few")

    @service.method(inline=True)
    def add_inline(a: int, b: int) -> int:
        return a + b

    @service.method(inline=True)
    def other() -> None: ...

    path = tmp_path / "access.toml"
    path.write_text(
        "[[rule]]\nwho = ['alice']\nmethods = ['add_inline']\nrate = 0.01\nburst = 10\n"
        "[[rule]]\nwho = ['*']\nmethods = ['*']\n"
    )
    options = {"access": path, "rate": 0.01, "burst": 5, "backend": "threading"}
    with (
        ringback.Server(service, "tcp://127.0.0.1:*", **options) as server,
        connect(server.endpoint) as one,
        connect(server.endpoint) as two,
        connect(server.endpoint) as bob,
    ):
        for client in (one, two, bob):  # in this order they are connected
            client.call("ringback.ping")
        assert outcomes(one, 6) == [type(None)] * 6
        assert outcomes(two, 6) == [type(None)] * 4 + [errors.ResourceExhausted] * 2
        for _ in range(3):  # by another rule, which has none: the server's
            two.call("other")
        with pytest.raises(errors.ResourceExhausted):
            one.call("other")
        assert outcomes(bob, 5) == [type(None)] * 4 + [errors.ResourceExhausted]


def test_a_call_that_is_over_the_rate_goes_to_another_server(start_server, connected, backend):
    limited = start_server(backend, "service", "--rate", "0.01", "--burst", "2")
    free = start_server(backend, "service")
    client = connected(limited.endpoint, free.endpoint)
    assert len(client.call_all("ringback.ping")) == 2  # both are there
    for _ in range(8):  # (within what a client sends again at first)
        assert client.call("add", 1, 2) == 3


@pytest.mark.parametrize(
    "options", [{"rate": 0}, {"rate": -1}, {"burst": 5}, {"rate": 1, "burst": 0}]
)
def test_rates_that_are_none_are_refused(options):
    with pytest.raises(errors.UsageError, match=r"(rate|burst)"):
        ringback.Server(ringback.Service("few"), **options)
