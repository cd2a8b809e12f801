"""What the native transport tells of a connection that comes to nothing, whom it lets go, and how
streams share a loop's turns.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from typing import Any

import pytest
import zmq
from processes import SOON, eventually, free_endpoint
from raw import GREETING, address, by_hand, ready, said, zmtp
from ringback import Server, Service, errors
from ringback.clients import threading as blocking
from ringback.protocol.messages import Ping
from ringback.transport import chosen
from ringback.transport.native import dialing
from ringback.transport.native import server as native_server
from serving import is_closed, serving


def listening(answer: bytes, family: int = socket.AF_INET) -> Iterator[str]:
    """An endpoint where each connection is sent these bytes, and closed as soon as it has said
    something.
    """
    with socket.create_server(
        ("127.0.0.1" if family == socket.AF_INET else "::1", 0), family=family
    ) as made:

        def serve() -> None:
            while True:
                try:
                    connection, _ = made.accept()
                except OSError:
                    return
                with connection:
                    connection.sendall(answer)
                    connection.recv(64)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"tcp://127.0.0.1:{made.getsockname()[1]}"
        made.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.fixture
def website() -> Iterator[str]:
    yield from listening(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")


@pytest.fixture
def curved() -> Iterator[str]:
    yield from listening(
        b"\xff" + bytes(8) + b"\x7f\x03\x01" + b"CURVE".ljust(20, b"\0") + bytes(32)
    )


def why_unavailable(endpoint: str, within: float = SOON) -> str:
    """What a native client says that finds nobody there."""
    with blocking.connect(endpoint, transport="native", timeout=within) as client:
        with pytest.raises(errors.CallError) as caught:
            client.options(wait_for_ready=False).call("add", 1, 2)
        assert isinstance(caught.value, errors.Unavailable | errors.Unauthenticated)
        return str(caught.value)


def test_who_refuses_is_told(tmp_path: Any) -> None:
    endpoint = free_endpoint()
    assert why_unavailable(endpoint) == f"no server at {endpoint}: connection refused"
    endpoint = f"ipc://{tmp_path}/nobody"
    assert why_unavailable(endpoint) == f"no server at {endpoint}: no such file or directory"


def test_a_website_is_told_by_what_it_says(website: str) -> None:
    assert why_unavailable(website) == (
        f"the peer at {website} is not a ringback server: not a ZeroMQ peer: it sent 'HTTP/1.1 "
        f"400 Bad Request'"
    )


def test_a_server_with_keys_is_told_as_such_and_not_tried_again(curved: str) -> None:
    assert why_unavailable(curved).startswith(
        f"the server at {curved} uses CURVE: give its public key"
    )


def test_who_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ringback.transport.native.client.HANDSHAKE", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"tcp://127.0.0.1:{silent.getsockname()[1]}"
        assert why_unavailable(endpoint) == f"the peer at {endpoint} does not answer the handshake"


def test_who_does_not_even_refuse_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dialing, "WITHIN", 0.2)
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        endpoint = f"tcp://127.0.0.1:{full.getsockname()[1]}"
        with ExitStack() as stack:  # the kernel answers nobody more
            for _ in range(3):
                waiting = stack.enter_context(socket.socket())
                waiting.setblocking(False)
                waiting.connect_ex(full.getsockname())
            assert (
                why_unavailable(endpoint)
                == f"no server at {endpoint}: nothing has answered for 0.2 s"
            )


def test_of_a_name_with_many_addresses_the_first_that_answers_is_taken(
    start_server: Any, connected: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One refuses, one drops what is sent, and the third is a server."""
    server = start_server("asyncio", "service", "--transport", "native")
    port = address(server.endpoint)[1]
    with socket.socket() as full, ExitStack() as stack:
        full.bind(("127.0.0.2", port))
        full.listen(0)
        for _ in range(3):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        found = [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", port, 0, 0)),
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.2", port)),
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)),
        ]
        monkeypatch.setattr(dialing.native, "getaddrinfo", lambda *_, **__: found)
        client = connected(f"tcp://many.invalid:{port}", transport="native")
        begun = time.monotonic()
        assert client.call("add", 1, 2) == 3
        assert time.monotonic() - begun < dialing.WITHIN


def test_addresses_of_both_families_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [
        (family, socket.SOCK_STREAM, 6, "", name)
        for family, name in ((10, "a"), (10, "b"), (2, "c"))
    ]
    monkeypatch.setattr(dialing.native, "getaddrinfo", lambda *_, **__: found)
    assert dialing._addresses("many.invalid", 1) == [(10, "a"), (2, "c"), (10, "b")]


# A server's connections


@pytest.fixture
def looking(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server of this process looks around more often: what takes seconds takes tenths."""
    monkeypatch.setattr(native_server, "LOOK", 0.05)


@pytest.fixture
def service() -> Service:
    made = Service("small")
    made.method(name="echo", inline=True)(lambda value: value)
    return made


def test_who_does_not_shake_hands_or_say_hello_in_time_is_sent_away(
    service: Service, looking: None, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(service, handshake_timeout=0.2, hello_timeout=0.4) as server:
        with by_hand(server.endpoint, handshake=False) as mute:
            assert is_closed(mute)
            assert "its handshake took more than 0.2 s" in caplog.text
        time.sleep(1.0)  # of the lines of one second only the first is written
        with by_hand(server.endpoint, hello=False) as silent:
            assert is_closed(silent)
            assert "it sent nothing for 0.4 s" in caplog.text
        with (
            by_hand(server.endpoint) as client,
            blocking.connect(server.endpoint, transport="native") as other,
        ):
            time.sleep(0.6)
            client.sendall(zmtp(said(Ping(7))[0]))
            client.settimeout(SOON)
            assert client.recv(4096)
            assert other.call("echo", 1) == 1


def test_a_peer_that_said_when_it_would_speak_again_is_given_up(
    service: Service, looking: None
) -> None:
    with serving(service) as server, by_hand(server.endpoint) as client:
        client.sendall(
            zmtp(b"\x04PING" + (3).to_bytes(2, "big"), command=True)
        )  # tenths of a second
        assert is_closed(client)


def test_one_connection_too_many_costs_who_has_said_nothing(service: Service) -> None:
    with serving(service, max_connections=3) as server, ExitStack() as stack:
        speaks = stack.enter_context(by_hand(server.endpoint))
        oldest = stack.enter_context(by_hand(server.endpoint, hello=False))
        stack.enter_context(by_hand(server.endpoint, hello=False))
        stack.enter_context(by_hand(server.endpoint, hello=False))
        assert is_closed(oldest)
        speaks.sendall(zmtp(said(Ping(7))[0]))
        assert speaks.recv(4096)


def send_for_ever(connection: socket.socket, data: bytes) -> None:
    while True:
        connection.sendall(data)


def test_who_asks_for_pongs_and_reads_none_is_sent_away(service: Service) -> None:
    with serving(service) as server, by_hand(server.endpoint) as asking:
        ping = zmtp(b"\x04PING" + bytes(2) + bytes(16), command=True) * 1000
        asking.settimeout(SOON)
        with pytest.raises(ConnectionError):
            send_for_ever(asking, ping)


@pytest.mark.parametrize(
    "bad",
    [b"\xff" * 64, b"GET / HTTP/1.1\r\n\r\n", GREETING + zmtp(b"x"), GREETING + ready(kind=b"SUB")],
)
def test_who_speaks_otherwise_is_sent_away_and_told_in_the_log(
    bad: bytes, service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(service) as server, by_hand(server.endpoint, handshake=False) as stranger:
        stranger.sendall(bad)
        assert is_closed(stranger)
        eventually(lambda: "cut off 127.0.0.1: " in caplog.text)


def test_what_was_said_before_a_fault_counts(service: Service) -> None:
    """A whole call, and behind it in the same segment what is no ZMTP."""
    with serving(service) as server, by_hand(server.endpoint) as client:
        client.settimeout(SOON)
        client.recv(4096)  # the welcome
        client.sendall(zmtp(said(Ping(7))[0]) + bytes([255] * 16))
        heard = b""
        while more := client.recv(4096):
            heard += more
        assert b"RBK" in heard


# Runs as a program that may open few files: a server, more connections than that, and then one that
# calls.
FEW = """
import resource, socket, sys, time
resource.setrlimit(resource.RLIMIT_NOFILE, (60, 60))
from ringback import Server, Service
from ringback.clients import threading as blocking
service = Service("few")
service.method(name="add", inline=True)(lambda a, b: a + b)
with Server(service, "tcp://127.0.0.1:*", backend="threading", transport="native", max_connections=1000) as server:
    client = blocking.connect(server.endpoint, transport="native")
    print(client.call("add", 1, 2))
    many = []
    host, port = server.endpoint.removeprefix("tcp://").split(":")
    try:
        while True:
            many.append(socket.create_connection((host, int(port))))
    except OSError:
        pass
    before = time.process_time()
    time.sleep(0.5)
    print(time.process_time() - before < 0.2)
    print(client.call("add", 1, 2))
    for one in many:
        one.close()
    other = blocking.connect(server.endpoint, transport="native")
    print(other.call("add", 1, 2))
    client.close()
    other.close()
"""


def test_without_descriptors_a_server_serves_whom_it_has_and_does_not_spin(
    run_program: Any,
) -> None:
    done = run_program("-c", FEW)
    assert done.status == 0, done
    assert done.lines == ["3", "True", "3", "3"]


def test_a_flood_of_one_client_lets_others_have_their_turns(service: Service) -> None:
    """What one read brings of it takes many turns, in which another is served."""
    with serving(service) as server, ExitStack() as stack:
        floods = [stack.enter_context(by_hand(server.endpoint)) for _ in range(5)]
        client = stack.enter_context(closing(blocking.connect(server.endpoint, transport="native")))
        client.call("echo", 1)
        over = threading.Event()
        flood = zmtp(said(*[Ping(number) for number in range(20)])[0]) * 500

        def send(connection: socket.socket) -> None:
            connection.settimeout(0.05)
            while not over.is_set():
                try:
                    connection.sendall(flood)
                except TimeoutError:
                    pass
                except ConnectionError:
                    return
                connection.setblocking(False)
                try:
                    while connection.recv(1 << 20):
                        pass
                except OSError:
                    pass
                connection.settimeout(0.05)

        threads = [threading.Thread(target=send, args=(connection,)) for connection in floods]
        for thread in threads:
            thread.start()
        took = []
        for _ in range(50):
            begun = time.monotonic()
            assert client.options(timeout=SOON).call("echo", 1) == 1
            took.append(time.monotonic() - begun)
        over.set()
        for thread in threads:
            thread.join()
        assert sorted(took)[25] < 1.0


# Choosing


def test_the_transport_is_chosen_by_name_by_variable_and_by_context(
    monkeypatch: pytest.MonkeyPatch, service: Service
) -> None:
    monkeypatch.delenv("RINGBACK_TRANSPORT", raising=False)
    assert chosen("native").name == "native"
    monkeypatch.delenv("RINGBACK_TRANSPORT", raising=False)
    assert chosen(None).name == "native"
    monkeypatch.setenv("RINGBACK_TRANSPORT", "libzmq")
    assert chosen(None).name == "libzmq"
    assert chosen("native").name == "native"
    with zmq.Context() as context:
        assert chosen(None, context).name == "libzmq"
        with pytest.raises(errors.UsageError, match='transport="native" uses none'):
            chosen("native", context)
    with pytest.raises(
        errors.UsageError, match="no transport 'carrier pigeon': choose one of native, libzmq"
    ):
        blocking.connect("tcp://127.0.0.1:5555", transport="carrier pigeon")


def test_neither_end_of_a_native_conversation_loads_libzmq(run_program: Any) -> None:
    program = """
import sys
from ringback import Server, Service
from ringback.clients import threading as blocking
service = Service("small")
service.method(name="add", inline=True)(lambda a, b: a + b)
with Server(service, "tcp://127.0.0.1:*", backend="threading", transport="native") as server:
    with blocking.connect(server.endpoint, transport="native") as client:
        print(client.call("add", 1, 2), "zmq" in sys.modules)
"""
    done = run_program("-c", program)
    assert done.lines == ["3 False"], done


@pytest.mark.parametrize(("transport", "warnings"), [("libzmq", 1), ("native", 0)])
def test_a_server_on_libzmq_says_once_that_it_is_for_trusted_clients(
    service: Service, caplog: pytest.LogCaptureFixture, transport: str, warnings: int
) -> None:
    bind = ["tcp://127.0.0.1:*", "inproc://here"]
    with Server(service, bind, backend="threading", transport=transport) as server:
        pass
    told = [
        record.getMessage() for record in caplog.records if "trusted clients" in record.getMessage()
    ]
    assert len(told) == warnings
    assert all(server._bind[1] not in each for each in told)
