"""Which clients are admitted, for how long, and as whom; what is said of the others; and servers that share one
context.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import ringback
import zmq
from processes import SOON, ServerProcess, chosen_backends, eventually, free_endpoint
from ringback import errors
from ringback.transport.libzmq.handshakes import Handshakes

GUARDED = Path(__file__).with_name("guarded.py")


def service() -> ringback.Service:
    made = ringback.Service("here")

    @made.method(inline=True)
    def whoami() -> str:
        return ringback.current_call().user

    return made


def refused(connected: Callable[..., Any], endpoint: str, given: dict[str, Any]) -> str:
    """Why a client does not get in."""
    with pytest.raises(errors.Unauthenticated) as caught:
        connected(endpoint, **given).call("whoami")
    return str(caught.value)


def test_keys_that_come_and_go_are_heard_of_without_a_restart(
    pairs, start_server, connected, backend
):
    server = start_server(backend, "service", *pairs.options, path=GUARDED)
    alice, bob = pairs.make("alice", authorized=True), pairs.make("bob")
    assert connected(server.endpoint, **alice).call("whoami") == "alice"  # at once
    assert "does not know this client's key" in refused(connected, server.endpoint, bob)
    pairs.authorize("bob")
    staying = connected(server.endpoint, **bob)
    assert staying.call("whoami") == "bob"
    held = staying.fire("hold", 3)
    pairs.revoke("bob")
    begin = time.monotonic()
    refused(connected, server.endpoint, bob)  # at once
    assert time.monotonic() - begin < 1.0
    with pytest.raises(errors.Unavailable):
        held.result(SOON)
    assert time.monotonic() - begin < 4.0  # whoever is connected is cut off
    with pytest.raises(errors.Unauthenticated):
        staying.call("whoami")
    assert connected(server.endpoint, **alice).call("whoami") == "alice"
    assert server.logged("the key of bob is no longer authorized")
    assert not [secret for secret in pairs.secrets() if secret in server.log]
    server.stop()


def test_a_key_is_told_in_every_kind_of_handler(pairs, start_server, connected, backend):
    server = start_server(backend, "service", *pairs.options, path=GUARDED)
    client = connected(server.endpoint, **pairs.make("alice", authorized=True))
    names = ("whoami", "whoami_in_a_worker", "whoami_elsewhere")
    assert [client.call(name) for name in names] == ["alice"] * 3


def test_many_processes_let_in_the_same_keys(pairs, start_server, connected, backend):
    endpoint = free_endpoint()
    server = start_server(
        backend, "service", *pairs.options, "--processes", "2", path=GUARDED, bind=(endpoint,)
    )
    alice = pairs.make("alice", authorized=True)
    assert {connected(endpoint, **alice).call("whoami") for _ in range(6)} == {"alice"}
    for _ in range(4):
        refused(connected, endpoint, pairs.make(f"mallory{_}"))
    assert server.stop() == 0


def test_a_new_key_under_the_same_name_replaces_the_old_one(pairs, serving, connected):
    server = serving(service())
    old = pairs.make("old")
    pairs.authorize("old", under="alice")
    client = connected(server.endpoint, **old)
    assert client.call("whoami") == "alice"
    new = pairs.make("new")
    pairs.authorize("new", under="alice")
    assert connected(server.endpoint, **new).call("whoami") == "alice"

    def is_out() -> bool:
        try:
            client.call("whoami")
        except errors.Unauthenticated:
            return True
        except errors.Unavailable:
            pass  # cut off, and not yet refused
        return False

    eventually(is_out)
    assert connected(server.endpoint, **new).call("whoami") == "alice"


def test_a_file_that_is_written_in_place_is_read_when_it_is_whole(
    pairs, serving, connected, logged
):
    server = serving(service())
    alice = pairs.make("alice")
    entry = pairs.authorized / "alice.key"
    with entry.open("wb", buffering=0) as file:
        file.write(b"curve\n")
        refused(connected, server.endpoint, alice)  # half of it is no key
        file.write(pairs.public("alice").read_bytes())

    def is_in() -> bool:
        try:
            return connected(server.endpoint, **alice).call("whoami") == "alice"
        except errors.Unauthenticated:
            return False

    eventually(is_in)


def test_a_directory_that_goes_away_lets_nobody_in(pairs, serving, connected, logged):
    server = serving(service())
    alice = pairs.make("alice", authorized=True)
    assert connected(server.endpoint, **alice).call("whoami") == "alice"
    pairs.authorized.rename(pairs.home / "away")
    refused(connected, server.endpoint, alice)
    assert "no client is admitted" in logged.text
    (pairs.home / "away").rename(pairs.authorized)
    assert connected(server.endpoint, **alice).call("whoami") == "alice"


def test_any_key_is_let_in_where_that_is_said_and_is_nobodys(pairs, serving, connected):
    server = serving(service(), authorized_keys="any")
    for given in (pairs.make("alice"), {"server_key": pairs.public("server")}):
        assert connected(server.endpoint, **given).call("whoami") == ""
    assert "uses CURVE" in refused(connected, server.endpoint, {})


def test_a_server_says_who_was_refused_and_no_secret(pairs, serving, connected, logged):
    server = serving(service())
    refused(connected, server.endpoint, pairs.make("mallory"))
    refused(connected, server.endpoint, {**pairs.make("bob"), "server_key": pairs.public("bob")})
    eventually(lambda: "its key, " in logged.text and "its handshake failed" in logged.text)
    lines = [record for record in logged.records if "refused" in record.getMessage()]
    assert {record.code for record in lines} == {"UNAUTHENTICATED"}
    assert not [secret for secret in pairs.secrets() if secret in logged.text]


def test_ipc_asks_for_keys_too(pairs, serving, connected, tmp_path):
    server = serving(service(), f"ipc://{tmp_path}/here")
    assert (
        connected(server.endpoint, **pairs.make("alice", authorized=True)).call("whoami") == "alice"
    )
    refused(connected, server.endpoint, pairs.make("bob"))


def test_a_value_of_the_largest_size_fits_encrypted(pairs, start_server, connected):
    server = start_server("threading", "service", *pairs.options, path=GUARDED)
    client = connected(server.endpoint, **pairs.make("alice", authorized=True))
    value = b"x" * (16 * 1024 * 1024 - 16)
    assert client.call("echo", value) == value


# One context


def test_servers_that_share_a_context_each_have_their_own_keys(pairs, serving, connected, tmp_path):
    context = zmq.Context()
    others = tmp_path / "others"
    others.mkdir()
    alice, bob = pairs.make("alice", authorized=True), pairs.make("bob")
    (others / "bob.key").write_bytes(pairs.public("bob").read_bytes())
    first = serving(service(), context=context)
    second = serving(service(), context=context, authorized_keys=others)
    third = serving(service(), context=context)
    assert connected(first.endpoint, **alice).call("whoami") == "alice"
    assert connected(second.endpoint, **bob).call("whoami") == "bob"
    refused(connected, first.endpoint, bob)
    refused(connected, second.endpoint, alice)
    # Whoever goes, the others go on asking.
    first.__exit__(None, None, None)
    assert connected(second.endpoint, timeout=SOON, **bob).call("whoami") == "bob"
    second.__exit__(None, None, None)
    assert connected(third.endpoint, timeout=SOON, **alice).call("whoami") == "alice"
    refused(connected, third.endpoint, bob)
    third.__exit__(None, None, None)
    again = serving(service(), context=context)
    assert connected(again.endpoint, **alice).call("whoami") == "alice"
    again.__exit__(None, None, None)
    context.term()


def test_an_authenticator_of_somebody_else_in_the_context_is_told_of(pairs, serving):
    context = zmq.Context()
    with context.socket(zmq.REP) as other:
        other.bind("inproc://zeromq.zap.01")
        with pytest.raises(errors.UsageError, match="already"):
            serving(service(), context=context)
        serving(service(), context=context, secret_key=None, authorized_keys=None).__exit__(
            None, None, None
        )
    context.term()


def test_a_server_starts_anew(pairs, connected):
    server = ringback.Server(service(), "tcp://127.0.0.1:*", backend="threading", **pairs.server)
    alice = pairs.make("alice", authorized=True)
    for _ in range(2):
        with server:
            client = connected(server.endpoint, **alice)
            assert client.call("whoami") == "alice"
            client.close(now=True)


def test_a_child_of_a_fork_has_its_own(pairs, serving, connected):
    context = zmq.Context()
    server = serving(service(), context=context)
    alice = pairs.make("alice", authorized=True)
    assert connected(server.endpoint, **alice).call("whoami") == "alice"
    child = os.fork()
    if child == 0:
        status = 1
        try:
            with ringback.Server(
                service(), "tcp://127.0.0.1:*", backend="threading", **pairs.server
            ) as own:
                from ringback.clients.threading import connect

                with connect(own.endpoint, **alice) as client:
                    status = 0 if client.call("whoami") == "alice" else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert connected(server.endpoint, **alice).call("whoami") == "alice"
    server.__exit__(None, None, None)
    context.term()


# Without CURVE


@pytest.mark.parametrize("options", [(), ("--processes", "2")])
def test_a_server_that_all_can_reach_says_once_that_it_is_open(start_server, options):
    server = start_server(
        chosen_backends()[0], "service", *options, path=GUARDED, bind=("tcp://0.0.0.0:*",)
    )
    assert server.logged(
        "to everyone who can reach it, unencrypted: give --secret-key, or --insecure"
    )
    server.stop()
    assert server.log.count("unencrypted") == 1


@pytest.mark.parametrize(
    ("bind", "options"),
    [
        ("tcp://0.0.0.0:*", {"insecure": True}),
        ("tcp://127.0.0.1:*", {}),
        ("tcp://[::1]:*", {}),
        ("tcp://localhost:*", {}),
        ("ipc:///{home}/here", {}),
        ("inproc://here", {}),
        ("tcp://0.0.0.0:*", {"keys": True}),
    ],
)
def test_a_server_that_is_not_open_or_is_meant_to_be_says_nothing(
    pairs, serving, logged, tmp_path, bind, options
):
    given = dict(options)
    if not given.pop("keys", False):
        given |= {"secret_key": None, "authorized_keys": None}
    serving(service(), bind.format(home=tmp_path), **given)
    assert "unencrypted" not in logged.text


# What becomes of clients


def test_a_server_that_comes_back_with_another_key_is_not_believed(pairs, connected):
    endpoint = free_endpoint()
    given = pairs.make("alice", authorized=True)
    server = ServerProcess("threading", "service", *pairs.options, path=GUARDED, bind=(endpoint,))
    client = connected(endpoint, **given)
    assert client.call("whoami") == "alice"
    server.stop()
    pairs.make("other")
    words = ("--secret-key", str(pairs.secret("other")), "--authorized-keys", str(pairs.authorized))
    server = ServerProcess("threading", "service", *words, path=GUARDED, bind=(endpoint,))
    begin = time.monotonic()
    with pytest.raises(errors.Unauthenticated, match="broken off"):
        client.call("whoami")
    assert time.monotonic() - begin < 8.0  # it has been right before: a little patience
    server.stop()


def test_a_server_that_stands_still_or_starts_anew_is_not_taken_for_an_impostor():
    """What libzmq tells then, and when."""
    for known, pause, taken in ((False, 0.1, 3), (False, 5.0, 0), (True, 0.25, 13), (True, 5.0, 0)):
        handshakes, now = Handshakes("tcp://there:1", with_keys=True), 100.0
        broken_off = 0
        while broken_off < 40:
            handshakes.began(now)
            now += pause
            broken_off += 1
            if handshakes.failed(zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL, 32, now, known=known):
                break
            assert "handshake" in handshakes.lost()
            assert "handshake" in handshakes.retried()
        assert broken_off == (taken or 40), (known, pause)


def test_a_server_that_is_away_in_between_begins_the_count_anew():
    handshakes = Handshakes("tcp://127.0.0.1:1", with_keys=True)
    for attempt in range(10):
        handshakes.began(attempt)
        assert handshakes.failed(zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL, 32, attempt + 0.1) is None
        handshakes.retried()
        assert handshakes.retried() == "no server at tcp://127.0.0.1:1"


def test_of_many_servers_those_that_let_a_client_in_are_enough(pairs, serving, connected, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    alice = pairs.make("alice", authorized=True)
    good, bad = serving(service()), serving(service(), authorized_keys=empty)
    client = connected(good.endpoint, bad.endpoint, **alice)
    assert {client.call("whoami") for _ in range(50)} == {"alice"}
    by_endpoint = {answer.endpoint: answer for answer in client.call_all("whoami")}
    assert by_endpoint[good.endpoint].result == "alice"
    assert type(by_endpoint[bad.endpoint].error) is errors.Unauthenticated
    nowhere = connected(bad.endpoint, bad.endpoint.replace("127.0.0.1", "localhost"), **alice)
    with pytest.raises(errors.Unauthenticated):
        nowhere.call("whoami")


def test_who_is_refused_does_not_ask_again(pairs, serving, connected, logged):
    server = serving(service())
    client = connected(server.endpoint, **{**pairs.make("bob"), "server_key": pairs.public("bob")})
    for _ in range(3):
        with pytest.raises(errors.Unauthenticated):
            client.call("whoami")
    assert client.state == "closed"
    assert client._shared.core._wires == []


@pytest.mark.parametrize("transport", ["native", "libzmq"])
def test_a_probe_has_keys_too(pairs, start_server, run_program, backend, transport):
    server = start_server(
        backend, "service", *pairs.options, "--transport", transport, path=GUARDED
    )
    pairs.make("alice", authorized=True)
    ask = ("-m", "ringback", "health", server.endpoint)
    right = (
        "--server-key",
        str(pairs.public("server")),
        "--secret-key",
        str(pairs.secret("alice")),
    )
    wrong = ("--server-key", str(pairs.public("alice")), "--secret-key", str(pairs.secret("alice")))
    unknown = ("--server-key", str(pairs.public("server")))
    assert run_program(*ask, *right).status == 0
    for words, said in ((wrong, "broken off"), (unknown, "does not know this client's key")):
        ran = run_program(*ask, *words)
        assert ran.status == 1
        assert ran.err.startswith("ringback: UNAUTHENTICATED: ")
        assert said in ran.err
    ran = run_program(*ask)
    assert (ran.status, "uses CURVE" in ran.err) == (1, True), ran


def test_servers_that_are_found_and_all_refuse_are_no_silent_wait(
    pairs, serving, connected, tmp_path
):
    url = f"sqlite:///{tmp_path}/registry.db"
    serving(service(), register=url)
    found = f"{url}?service=here"
    alice, mallory = pairs.make("alice", authorized=True), pairs.make("mallory")
    assert connected(found, **alice).call("whoami") == "alice"
    begin = time.monotonic()
    refused(connected, found, mallory)
    assert time.monotonic() - begin < 5.0


def test_a_server_with_keys_that_cannot_bind_leaves_nothing_behind(pairs, serving, connected):
    context = zmq.Context()
    first = serving(service())
    with pytest.raises(errors.UsageError, match="is in use"):
        serving(service(), first.endpoint, context=context)
    second = serving(service(), context=context)
    assert (
        connected(second.endpoint, **pairs.make("alice", authorized=True)).call("whoami") == "alice"
    )
    second.__exit__(None, None, None)
    context.term()
