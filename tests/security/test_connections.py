"""A message is never taken for another's, whatever its sender does with routing ids: raw peers
against a server of libzmq's transport.
"""

from __future__ import annotations

import os
import socket
import threading
from contextlib import suppress
from typing import Any

import pytest
import ringback
import zmq
from processes import SOON, eventually
from ringback.protocol import codec
from ringback.protocol.messages import Call, Hello, Notify, Ping, Pong
from ringback.protocol.values import pack_args
from ringback.security import keys


class Guarded:
    """A service that tells who calls it, and that can be held."""

    def __init__(self) -> None:
        self.service = service = ringback.Service("guarded")
        self.told: list[tuple[str, str]] = []
        self.begun, self.go_on = threading.Event(), threading.Event()

        @service.method(inline=True)
        def tell(who: str) -> str:
            user = ringback.current_call().user
            self.told.append((who, user))
            return user

        @service.method(inline=True)
        def block() -> None:
            "On the event loop."
            self.begun.set()
            assert self.go_on.wait(SOON)

        @service.method
        def hold() -> str:
            "In a worker."
            self.begun.set()
            assert self.go_on.wait(SOON)
            return "for alice alone"


@pytest.fixture
def guarded():
    made = Guarded()
    yield made
    made.go_on.set()


class Peer:
    """A socket of its own with a client's keys, which says what it likes."""

    def __init__(
        self, context: zmq.Context[Any], server: str, given: dict[str, Any], routing_id: bytes = b""
    ):
        self.socket = context.socket(zmq.DEALER)
        self.socket.set(zmq.LINGER, 0)
        self.socket.set(zmq.RCVTIMEO, int(SOON * 1000))
        pair = keys.read_secret(given["secret_key"])
        self.socket.set(zmq.CURVE_SERVERKEY, keys.public_key(given["server_key"]))
        self.socket.set(zmq.CURVE_PUBLICKEY, pair.public)
        self.socket.set(zmq.CURVE_SECRETKEY, pair.secret)
        if routing_id:
            self.socket.set(zmq.ROUTING_ID, routing_id)
        self.monitor = self.socket.get_monitor_socket(
            zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED
        )
        self.socket.connect(server)

    def is_connected(self) -> None:
        self.monitor.set(zmq.RCVTIMEO, int(SOON * 1000))
        assert (
            int.from_bytes(self.monitor.recv_multipart()[0][:2], "little")
            == zmq.EVENT_HANDSHAKE_SUCCEEDED
        )

    def say(self, *messages: Any) -> None:
        for frames in codec.Encoder().encode(list(messages)):
            self.socket.send_multipart(frames)

    def heard(self) -> list[Any]:
        return list(codec.from_server().decode(self.socket.recv_multipart()))

    def close(self) -> None:
        self.socket.disable_monitor()
        self.monitor.close(0)
        self.socket.close(0)


@pytest.fixture
def peers():
    context = zmq.Context()
    made: list[Peer] = []

    def connect(*args: Any, **options: Any) -> Peer:
        made.append(Peer(context, *args, **options))
        return made[-1]

    yield connect
    for peer in made:
        if not peer.socket.closed:
            peer.close()
    context.term()


@pytest.fixture(autouse=True)
def libzmq(monkeypatch: pytest.MonkeyPatch) -> None:
    """A native server knows no routing ids."""
    monkeypatch.setenv("RINGBACK_TRANSPORT", "libzmq")


def hello() -> Hello:
    return Hello(os.urandom(16), 1 << 20, "a test")


def tell(who: str) -> Notify:
    return Notify("tell", pack_args((who,), 1000), None, None)


def test_who_chooses_a_routing_id_is_cut_off(pairs, serving, guarded, peers, logged):
    server = serving(guarded.service)
    peer = peers(server.endpoint, pairs.make("alice", authorized=True), routing_id=b"mine")
    peer.say(hello(), tell("alice"))
    eventually(lambda: "it has chosen its routing id" in logged.text)
    assert guarded.told == []


def test_a_routing_id_that_is_used_again_is_not_taken_for_its_last_user(
    pairs, serving, guarded, peers
):
    """The worst case: the server is told late that alice has gone, when bob has spoken under her
    routing id.
    """
    server = serving(guarded.service)
    drawn = (
        b"\0\x01\x02\x03\x04"  # as libzmq draws them; the protocol forbids it, and nothing can tell
    )
    for_alice, for_bob = pairs.make("alice", authorized=True), pairs.make("bob", authorized=True)
    alice = peers(server.endpoint, for_alice, routing_id=drawn)
    alice.say(hello(), tell("alice"))
    eventually(lambda: guarded.told)
    core = server._core
    deaf = threading.Event()

    def deafen() -> None:
        core.end._monitor._watch.cancel()  # as on a machine that is very busy
        deaf.set()

    core.loop.call_soon_threadsafe(deafen)
    assert deaf.wait(SOON)
    alice.close()

    def bob_is_heard() -> bool:
        bob = peers(server.endpoint, for_bob, routing_id=drawn)
        bob.is_connected()
        bob.say(tell("bob"), hello(), tell("bob"))  # one before the hello, which alice had said
        bob.socket.set(zmq.RCVTIMEO, 300)
        try:
            return bool(bob.heard())
        except zmq.Again:
            return False  # her connection was not gone yet: who has the id of another is mute
        finally:
            bob.close()

    eventually(bob_is_heard)
    eventually(lambda: ("bob", "bob") in guarded.told)
    assert set(guarded.told) == {("alice", "alice"), ("bob", "bob")}


def test_the_answer_to_who_has_gone_is_given_to_nobody(pairs, serving, guarded, peers):
    server = serving(guarded.service)
    drawn = b"\0\x01\x02\x03\x04"
    for_alice, for_bob = pairs.make("alice", authorized=True), pairs.make("bob", authorized=True)
    alice = peers(server.endpoint, for_alice, routing_id=drawn)
    alice.say(hello(), Call(1, "hold", pack_args((), 1000)))
    assert guarded.begun.wait(SOON)
    alice.close()

    def welcomed() -> Any:
        bob = peers(server.endpoint, for_bob, routing_id=drawn)
        bob.is_connected()
        bob.say(hello())
        bob.socket.set(zmq.RCVTIMEO, 300)
        try:
            return bob if bob.heard() else None
        except zmq.Again:
            bob.close()
            return None

    found: list[Any] = []
    eventually(lambda: found.append(welcomed()) or found[-1])
    guarded.go_on.set()
    bob = found[-1]
    bob.say(Ping(7))
    bob.socket.set(zmq.RCVTIMEO, int(SOON * 1000))
    assert bob.heard() == [Pong(7)]
    eventually(lambda: server._core._machine.in_flight.calls == 0)
    bob.say(Ping(8))
    assert bob.heard() == [Pong(8)]


@pytest.mark.parametrize("transport", ["libzmq", "native"])
def test_what_comes_before_the_handshake_is_over_is_not_heard(pairs, serving, guarded, transport):
    """A peer that speaks ZMTP by itself and skips CURVE's commands."""
    server = serving(guarded.service, transport=transport)
    host, port = server.endpoint.removeprefix("tcp://").split(":")
    message = codec.Encoder().encode([hello(), tell("mallory")])[0][0]
    with socket.create_connection((host, int(port)), SOON) as raw:
        raw.sendall(b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"CURVE".ljust(20, b"\0") + bytes(32))
        with suppress(ConnectionError):  # a reset, where the server had not read everything
            raw.sendall(b"\x00" + bytes([len(message)]) + message)
            while raw.recv(4096):
                pass  # to the end: it is cut off
    assert guarded.told == []
