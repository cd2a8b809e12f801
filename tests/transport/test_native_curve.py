"""CURVE on the native transport, against libzmq's and among native ends."""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
import zmq
from processes import SOON, eventually, free_endpoint
from raw import HELLO, address, said
from ringback import Server, Service, errors
from ringback.clients import threading as blocking
from ringback.protocol import codec
from ringback.protocol.messages import Call, Reply, Welcome
from ringback.protocol.values import pack_args
from ringback.security import keys
from serving import hurry, serving

MIB = 1 << 20
SIZES = (0, 1, 200, 222, 223, 256, 65_535, 65_536, MIB, 5 * MIB)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    for name in ("server", "alice", "mallory"):
        keys.make(tmp_path, name)
    (tmp_path / "authorized").mkdir()
    (tmp_path / "authorized" / "alice.key").write_bytes((tmp_path / "alice.key").read_bytes())
    return tmp_path


@pytest.fixture
def service() -> Service:
    made = Service("sealed")
    made.method(name="echo", inline=True)(lambda value: value)
    made.method(name="sleep", inline=True)(lambda seconds: time.sleep(seconds))
    return made


@pytest.fixture
def guarded(home: Path, service: Service) -> Iterator[Server]:
    with serving(
        service,
        secret_key=home / "server.key_secret",
        authorized_keys=home / "authorized",
        max_size=20 * MIB,
    ) as server:
        yield server


def of(home: Path, name: str) -> dict[str, Any]:
    return {
        "server_key": home / "server.key",
        "secret_key": home / f"{name}.key_secret",
        "timeout": SOON,
    }


def test_a_libzmq_dealer_and_a_native_server(guarded: Server, home: Path) -> None:
    alice = keys.read_secret(home / "alice.key_secret")
    decoder = codec.from_server()
    with zmq.Context() as context, context.socket(zmq.DEALER) as dealer:
        dealer.set(zmq.LINGER, 0)
        dealer.set(zmq.RCVTIMEO, int(SOON * 1000))
        dealer.set(zmq.HEARTBEAT_IVL, 50)
        dealer.set(zmq.HEARTBEAT_TIMEOUT, int(SOON * 1000))
        dealer.curve_serverkey = keys.read_public(home / "server.key")
        dealer.curve_publickey, dealer.curve_secretkey = alice.public, alice.secret
        dealer.connect(guarded.endpoint)
        dealer.send_multipart(said(HELLO))
        [welcome] = decoder.decode(dealer.recv_multipart())
        assert isinstance(welcome, Welcome)
        for number, size in enumerate(SIZES, 1):
            value = [b"a" * size, b"b" * (size // 2)]
            dealer.send_multipart(said(Call(number, "echo", pack_args((value,), 20 * MIB))))
            [reply] = decoder.decode(dealer.recv_multipart())
            assert isinstance(reply, Reply)
            assert decoder.values.typed(reply.result, Any) == value
        time.sleep(0.2)  # of heartbeats alone
        dealer.send_multipart(said(Call(100, "echo", pack_args((1,), MIB))))
        assert isinstance(decoder.decode(dealer.recv_multipart())[0], Reply)


def test_a_native_client_and_a_libzmq_server(home: Path, service: Service) -> None:
    options = {"secret_key": home / "server.key_secret", "authorized_keys": home / "authorized"}
    with (
        Server(
            service, "tcp://127.0.0.1:*", backend="threading", transport="libzmq", **options
        ) as server,
        closing(
            blocking.connect(server.endpoint, transport="native", **of(home, "alice"))
        ) as client,
    ):
        for size in SIZES:
            value = [b"a" * size, b"b" * (size // 2)]
            assert client.call("echo", value) == value
        assert client.state == "ready"


def test_a_client_without_keys_learns_that_a_libzmq_server_has_them(
    home: Path, service: Service
) -> None:
    """Which closes the connection, and its greeting may be lost."""
    options = {"secret_key": home / "server.key_secret", "authorized_keys": home / "authorized"}
    with Server(
        service, "tcp://127.0.0.1:*", backend="threading", transport="libzmq", **options
    ) as server:
        for _ in range(5):
            client = blocking.connect(server.endpoint, transport="native", timeout=SOON)
            with closing(client), pytest.raises(errors.Unauthenticated, match="uses CURVE"):
                client.call("echo", 1)


def test_a_key_that_is_removed_ends_its_connections(
    guarded: Server, home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(
        blocking.connect(guarded.endpoint, transport="native", **of(home, "alice"))
    ) as client:
        assert client.call("echo", 1) == 1
        (home / "authorized" / "alice.key").unlink()
        while client.state != "closed":
            with suppress(errors.Unavailable, errors.Unauthenticated):
                client.call("echo", 1)
        with pytest.raises(errors.Unauthenticated, match="does not know this client's key"):
            client.call("echo", 1)
    assert "the key of alice is no longer authorized" in caplog.text


def test_one_connection_too_many_is_told_so_and_comes_back(home: Path, service: Service) -> None:
    options = {"secret_key": home / "server.key_secret", "authorized_keys": home / "authorized"}
    with serving(service, max_connections=1, **options) as server:
        first = blocking.connect(server.endpoint, transport="native", **of(home, "alice"))
        assert first.call("echo", 1) == 1
        with closing(
            blocking.connect(server.endpoint, transport="native", **of(home, "alice"))
        ) as second:
            with pytest.raises(errors.Unavailable, match="reached its limit of connections"):
                second.options(wait_for_ready=False).call("echo", 2)
            first.close()
            assert second.call("echo", 2) == 2


def test_a_blocked_loop_keeps_its_sealed_connections(
    guarded: Server, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hurry(monkeypatch)
    with closing(
        blocking.connect(guarded.endpoint, transport="native", **of(home, "alice"))
    ) as client:
        assert client.call("echo", 1) == 1
        assert client.call("sleep", 2.5) is None
        eventually(lambda: client.call("echo", 2) == 2 and client.state == "ready")


def test_keys_without_the_library_are_one_clear_error(
    home: Path, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "nacl", None)
    with pytest.raises(errors.UsageError, match=r"ringback\[curve\]"):
        blocking.connect("tcp://127.0.0.1:5555", **of(home, "alice"))
    with (
        pytest.raises(errors.UsageError, match=r"ringback\[curve\]"),
        serving(service, secret_key=home / "server.key_secret", authorized_keys="any"),
    ):
        pass


def test_handshakes_that_are_broken_off_count_in_a_row(home: Path, service: Service) -> None:
    """Two, then nobody is there, then two more: a server that starts anew, and not one with another
    key.
    """
    endpoint = free_endpoint()

    def break_off_two() -> None:
        with socket.create_server(address(endpoint)) as listener:
            listener.settimeout(SOON)
            for _ in range(2):
                listener.accept()[0].close()

    def nobody_is_there() -> bool:
        with pytest.raises(errors.Unavailable) as caught:
            client.options(wait_for_ready=False).call("echo", 1)
        return "connection refused" in str(caught.value)

    with closing(blocking.connect(endpoint, transport="native", **of(home, "alice"))) as client:
        future = client.fire("echo", 1)
        for _ in range(2):
            break_off_two()
            eventually(nobody_is_there)
        with Server(
            service,
            endpoint,
            backend="threading",
            transport="native",
            secret_key=home / "server.key_secret",
            authorized_keys="any",
        ):
            assert future.result(SOON) == 1
