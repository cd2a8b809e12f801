"""Replicas, seen through real servers: what they take, what they are told to have, and what they
wait for.
"""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import ringback
import zmq
from processes import SOON, ServerProcess, eventually
from ringback import errors
from ringback.commands.arguments import load_service
from ringback.protocol import codec
from ringback.protocol.messages import (
    Bye,
    Call,
    CallOptions,
    Cancel,
    Drain,
    End,
    Error,
    Hello,
    Item,
    Notify,
    Reached,
    Refusal,
    Reply,
    Welcome,
)
from ringback.protocol.values import pack_args

SERVICE = Path(__file__).with_name("copied.py")
LIMIT = 1 << 24

WRITES = ["put", "put_inline", "put_coroutine", "put_once", "put_stream", "put_and_fail"]
READS = [
    "get",
    "get_inline",
    "get_coroutine",
    "get_stream",
    "get_async_stream",
    "get_cached",
    "get_cached_inline",
]

_keys = (f"key {number}" for number in itertools.count())


class Peer:
    """A client that says what it is told to say, and shows all that it hears."""

    def __init__(self, endpoint: str) -> None:
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.set(zmq.LINGER, 0)
        self._socket.connect(endpoint)
        self._encoder, self._decoder = codec.Encoder(), codec.from_server()
        self._numbers = itertools.count(1)
        self._unread: list[object] = []
        self.say(Hello(os.urandom(16), LIMIT))
        assert isinstance(self.hear(), Welcome)

    def say(self, *messages: object) -> None:
        for frames in self._encoder.encode(list(messages)):
            self._socket.send_multipart(frames)

    def hear(self, within: float = SOON) -> object:
        """The next message. Raises where there is none in time."""
        if not self._unread:
            assert self._socket.poll(int(within * 1000)), "nothing was heard"
            self._unread += self._decoder.decode(self._socket.recv_multipart())
        return self._unread.pop(0)

    def ask(
        self,
        method: str,
        *args: object,
        versions: dict[str, int] | None = None,
        timeout: float | None = None,
    ) -> int:
        """Send a call, perhaps with versions; its id."""
        number = next(self._numbers)
        options = CallOptions(versions=versions, key=os.urandom(8).hex())
        credit = 10 if "stream" in method else 0
        left = None if timeout is None else int(timeout * 1000)
        self.say(Call(number, method, pack_args(args, LIMIT), None, left, credit, options))
        return number

    def answer(self, number: int) -> list[object]:
        """All that is said to one call."""
        said: list[object] = []
        while not said or not isinstance(said[-1], (Reply, Error, Refusal, End)):
            message = self.hear()
            if getattr(message, "id", None) == number:
                said.append(message)
        return said

    def call(self, method: str, *args: object, **how: object) -> list[object]:
        return self.answer(self.ask(method, *args, **how))  # type: ignore[arg-type]

    def result(self, said: list[object]) -> object:
        """The result, or the first item."""
        for message in said:
            if isinstance(message, (Reply, Item)):
                return self._decoder.values.plain(
                    message.result if isinstance(message, Reply) else message.value
                )
        raise AssertionError(said)

    def close(self) -> None:
        self._socket.close()
        self._context.term()


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('replicas') / 'state.db'}?synchronous=normal"


@pytest.fixture(scope="module")
def servers(backend: str, url: str) -> Iterator[tuple[ServerProcess, ServerProcess]]:
    """A primary and a replica of it, for all of these tests."""
    made = []
    try:
        for role in ("primary", "replica"):
            made.append(
                ServerProcess(backend, "service", "--state", url, "--role", role, path=SERVICE)
            )
        yield made[0], made[1]
        assert [server.stop() for server in made] == [0, 0]
    finally:
        for server in made:
            server.kill()


@pytest.fixture
def peers() -> Iterator[list[Peer]]:
    made: list[Peer] = []
    yield made
    for each in made:
        each.close()


@pytest.fixture
def primary(servers, peers) -> Peer:
    peers.append(Peer(servers[0].endpoint))
    return peers[-1]


@pytest.fixture
def replica(servers, peers) -> Peer:
    peers.append(Peer(servers[1].endpoint))
    return peers[-1]


@pytest.fixture
def key() -> str:
    return next(_keys)


def reached(said: list[object]) -> int:
    """The version of the data that an answer was told with, just before its end."""
    assert [type(each) for each in said].count(Reached) == 1
    assert isinstance(said[-2], Reached)
    return said[-2].versions["copied"]


# What is told to who asks


@pytest.mark.parametrize("method", WRITES)
def test_who_asks_is_told_the_version_of_what_was_written_just_before_the_answer(
    primary, url, key, method
):
    said = primary.call(method, key, 1, versions={})
    with ringback.open_state(url) as state:
        assert reached(said) >= state.read(key).version > 0


@pytest.mark.parametrize("method", READS)
def test_who_asks_is_told_the_version_of_what_was_read(primary, key, method):
    written = reached(primary.call("put", key, 1, versions={}))
    assert reached(primary.call(method, key, versions={})) >= written


def test_who_finds_nothing_is_told_the_version_at_which_it_was_removed(primary, url, key):
    with ringback.open_state(url) as state:
        state.put(key, 1)
        removed = state.delete(key)
    assert reached(primary.call("get", key, versions={})) >= removed


@pytest.mark.parametrize("method", [*WRITES, *READS])
def test_who_does_not_ask_is_told_nothing(primary, key, method):
    args = (key, 1) if method in WRITES else (key,)
    assert not any(isinstance(each, Reached) for each in primary.call(method, *args))


def test_a_call_that_is_refused_unstarted_is_told_nothing(primary, key):
    (refusal,) = primary.call("put", key, versions={})
    assert isinstance(refusal, Refusal)


def test_notifies_are_told_nothing(primary, key):
    primary.say(Notify("put", pack_args((key, 1), LIMIT), None, CallOptions(versions={})))
    eventually(lambda: primary.result(primary.call("get", key)) == 1)
    number = primary.ask("get", key)
    assert isinstance(primary.hear(), Reply)
    assert number > 1


def test_who_is_given_what_came_of_its_key_is_told_the_version_of_that(
    backend, start_server, peers, url, key
):
    first, second = (
        Peer(start_server(backend, "service", "--state", url, path=SERVICE).endpoint)
        for _ in range(2)
    )
    peers += [first, second]
    options = CallOptions(versions={}, key=key)
    told = []
    for peer in (first, second):
        peer.say(Call(1, "put_once", pack_args((key, 1), LIMIT), None, None, 0, options))
        told.append(reached(peer.answer(1)))
    assert told[1] >= told[0] > 0


# What calls within handlers bring


@pytest.mark.parametrize("method", ["nested", "nested_inline"])
@pytest.mark.parametrize("where", ["primary", "replica"])
def test_what_nested_calls_have_seen_is_told_too(primary, replica, where, method):
    peer = {"primary": primary, "replica": replica}[where]
    said = peer.call(method, {"other": 7, "more": 1}, versions={"other": 5, "more": 3})
    assert {"other": 7, "more": 3}.items() <= said[-2].versions.items()
    assert {"other": 7, "more": 3}.items() <= peer.result(said).items()


@pytest.mark.parametrize("method", ["nested", "nested_inline"])
def test_a_handler_whose_caller_has_not_asked_has_no_versions(primary, method):
    (reply,) = primary.call(method, {"other": 7})
    assert primary.result([reply]) is None


# What a replica takes


@pytest.mark.parametrize("method", WRITES)
def test_a_replica_refuses_what_is_not_readonly(replica, primary, key, method):
    (refusal,) = replica.call(method, key, 1)
    assert (refusal.code, refusal.started) == (errors.FailedPrecondition.code, False)
    assert "replica" in refusal.message
    assert primary.result(primary.call("get", key)) is None


def test_a_replica_drops_a_notify_that_is_not_readonly(replica, servers, key):
    replica.say(Notify("put", pack_args((key, 1), LIMIT), None, CallOptions(key="k")))
    assert servers[1].logged("readonly methods only")


@pytest.mark.parametrize("method", ["ringback.ping", "ringback.describe", "ringback.stats"])
def test_a_replica_answers_what_every_server_does(replica, method):
    (reply,) = replica.call(method)
    assert isinstance(reply, Reply)


def test_a_replica_says_that_it_is_one(servers, peers):
    peer = Peer.__new__(Peer)
    peer._context = zmq.Context()
    peer._socket = peer._context.socket(zmq.DEALER)
    peers.append(peer)
    peer._socket.connect(servers[1].endpoint)
    peer._encoder, peer._decoder, peer._unread = codec.Encoder(), codec.from_server(), []
    peer.say(Hello(os.urandom(16), LIMIT))
    assert peer.hear().about.role == "replica"


def test_a_replica_without_a_state_does_not_start(run_program, backend):
    ran = run_program(
        "-m", "ringback.server", f"{SERVICE}:service", "--backend", backend, "--role", "replica"
    )
    assert ran.status == 2
    assert "state" in ran.err
    assert len(ran.err.splitlines()) == 1


def test_a_replica_whose_store_does_not_answer_does_not_start(run_program, backend):
    pytest.importorskip("redis")
    store = "valkey://127.0.0.1:1/0"
    ran = run_program(
        "-m",
        "ringback.server",
        f"{SERVICE}:service",
        "--backend",
        backend,
        "--role",
        "replica",
        "--state",
        store,
    )
    assert ran.status == 3
    assert "a replica cannot start without its state store" in ran.err.splitlines()[-1]


# What a replica waits for


@pytest.mark.parametrize("method", READS)
def test_a_replica_has_what_its_caller_has_written(primary, replica, key, method):
    for value in range(5):
        version = reached(primary.call("put", key, value, versions={}))
        said = replica.call(method, key, versions={"copied": version})
        assert replica.result(said) == value
        assert reached(said) >= version


@pytest.mark.parametrize("method", READS)
def test_a_replica_waits_for_a_version_that_is_still_to_come(primary, replica, key, method):
    def waited() -> bool:
        """(False on a machine that is too slow to write in the time that a call waits.)"""
        version = reached(primary.call("put", key, "old", versions={}))
        number = replica.ask(method, key, versions={"copied": version + 1})
        primary.call("put", key, "new")
        said = replica.answer(number)
        return not isinstance(said[-1], Refusal) and replica.result(said) == "new"

    eventually(waited)


@pytest.mark.parametrize("method", READS)
def test_a_replica_that_does_not_get_there_refuses_unstarted(replica, key, method):
    (refusal,) = replica.call(method, key, versions={"copied": 1 << 40})
    assert (refusal.code, refusal.started) == (errors.Unavailable.code, False)
    assert "behind" in refusal.message
    assert replica.result(replica.call("runs", key)) == 0


def test_a_call_waits_no_longer_than_its_time(replica, key):
    said = replica.call("get", key, versions={"copied": 1 << 40}, timeout=0.05)
    assert isinstance(said[-1], (Refusal, Error))


def test_those_who_wait_hold_no_worker(backend, start_server, peers, url, key):
    server = start_server(
        backend, "service", "--state", url, "--role", "replica", "--workers", "1", path=SERVICE
    )
    peers.append(Peer(server.endpoint))
    peer = peers[-1]
    waiting = [peer.ask("get", key, versions={"copied": 1 << 40}) for _ in range(20)]
    assert isinstance(peer.call("get", key)[-1], Reply)
    assert all(isinstance(peer.answer(number)[-1], Refusal) for number in waiting)


def test_versions_of_other_services_are_not_waited_for(replica, key):
    said = replica.call("get", key, versions={"other": 1 << 40})
    assert isinstance(said[-1], Reply)
    assert said[-2].versions["other"] == 1 << 40


def test_a_primary_waits_for_nothing(primary, key):
    assert isinstance(primary.call("get", key, versions={"copied": 1 << 40})[-1], Reply)


def test_calls_that_wait_are_answered_before_the_end(backend, start_server, peers, url, key):
    server = start_server(backend, "service", "--state", url, "--role", "replica", path=SERVICE)
    peers.append(Peer(server.endpoint))
    peer = peers[-1]
    peer.ask("get", key, versions={"copied": 1 << 40})
    cancelled = peer.ask("get", key, versions={"copied": 1 << 40})
    peer.say(Cancel(cancelled))
    peer.call("get", key)
    server.send_signal(signal.SIGTERM)
    heard = [peer.hear() for _ in range(3)]
    assert {type(each) for each in heard[:2]} == {Drain, Refusal}
    assert isinstance(heard[2], Bye)
    peer.say(Bye())
    assert server.wait() == 0


# What is kept of results


@pytest.mark.parametrize("method", ["get_cached", "get_cached_inline"])
@pytest.mark.parametrize("where", ["primary", "replica"])
def test_what_was_kept_before_the_version_is_not_the_answer(primary, replica, key, method, where):
    peer = {"primary": primary, "replica": replica}[where]
    first = reached(primary.call("put", key, 1, versions={}))
    assert peer.result(peer.call(method, key, versions={"copied": first})) == 1
    version = reached(primary.call("put", key, 2, versions={}))
    assert peer.result(peer.call(method, key)) == 1
    assert peer.result(peer.call(method, key, versions={"copied": first})) == 1
    assert peer.result(peer.call(method, key, versions={"copied": version})) == 2
    assert peer.result(peer.call(method, key, versions={"copied": version})) == 2
    assert peer.result(peer.call("runs", key)) == 2


# In a running program


@pytest.fixture(scope="module")
def service() -> ringback.Service:
    return load_service(f"{SERVICE}:service")


def test_a_replica_leaves_the_state_that_it_was_given_open_and_can_be_started_again(
    service, url, connected, key
):
    with ringback.open_state(url) as state:
        server = ringback.Server(
            service, "tcp://127.0.0.1:*", backend="threading", state=state, role="replica"
        )
        for value in (1, 2):
            state.put(key, value)
            with server:
                assert connected(server.endpoint).call("get", key) == value
        assert state.get(key) == 2


def test_what_is_invalidated_at_a_replica_reaches_the_primary(service, url, key):
    def server(role: str) -> ringback.Server:
        return ringback.Server(
            service, "tcp://127.0.0.1:*", backend="threading", state=url, role=role
        )

    with server("replica"), ringback.open_state(url) as state:
        before = state.version()
        service.invalidate(key)
        eventually(
            lambda: any(
                each.key.endswith(f"/{key}")
                for each in state.changes("ringback.invalidated/", since=before)
            )
        )


def test_a_replica_makes_no_store(tmp_path: Path) -> None:
    server = ringback.Server(
        load_service(f"{SERVICE}:service"),
        "tcp://127.0.0.1:*",
        backend="threading",
        state=f"sqlite:///{tmp_path}/none.db",
        role="replica",
    )
    with pytest.raises(errors.UsageError, match="start its primary first"):
        server.__enter__()
    assert list(tmp_path.iterdir()) == []


def test_a_replica_may_be_started_before_its_primary(tmp_path: Path, backend: str) -> None:
    state = f"sqlite:///{tmp_path}/late.db"
    command = [sys.executable, "-m", "ringback", "serve", f"{SERVICE}:service", "--state", state]
    command += ["--role", "replica", "--backend", backend, "--bind", "tcp://127.0.0.1:*"]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as replica,
        ServerProcess(backend, "service", "--state", state, path=SERVICE),
    ):
        assert replica.stdout is not None
        assert replica.stdout.readline().startswith("ringback: ")
        replica.terminate()
        assert replica.wait(SOON) == 0
