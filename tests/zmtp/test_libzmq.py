"""Beside libzmq: what it says is understood, and it understands what is said."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator

import pytest
import zmq
from ringback.zmtp.connection import Bounds, Buffer, Connection
from zmtp_ends import said, whole

SIZES = (0, 1, 255, 256, 32_767, 32_768, 1 << 20, 5 << 20, 64 << 20)


@pytest.fixture
def context() -> Iterator[zmq.Context[zmq.Socket[bytes]]]:
    made: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    yield made
    made.destroy(linger=0)


class Talk:
    """A connection on a socket that blocks, reading so many bytes at a time."""

    def __init__(self, made: socket.socket, kind: bytes, read: int = 1 << 16) -> None:
        made.settimeout(10.0)
        self.socket, self.connection, self.read = (
            made,
            Connection(kind, bounds=Bounds(message=65 << 20)),
            read,
        )
        while not self.connection.open:
            self.receive()

    def receive(self) -> list[list[Buffer]]:
        self.socket.sendall(said(self.connection))
        data = self.socket.recv(self.read)
        assert data, "closed by the other end"
        found = self.connection.feed(data)
        self.socket.sendall(said(self.connection))
        return found

    def exchange(self, message: list[bytes]) -> list[list[Buffer]]:
        self.connection.send(message)
        found: list[list[Buffer]] = []
        while not found:
            found = self.receive()
        return found


@pytest.fixture(params=["tcp", "tcp6", "ipc"])
def listener(
    request: pytest.FixtureRequest, tmp_path: object
) -> Iterator[tuple[socket.socket, str]]:
    if request.param == "ipc":
        made, path = socket.socket(socket.AF_UNIX), f"{tmp_path}/s"
        made.bind(path)
        endpoint = f"ipc://{path}"
    else:
        six = request.param == "tcp6"
        made = socket.socket(socket.AF_INET6 if six else socket.AF_INET)
        made.bind(("::1" if six else "127.0.0.1", 0))
        endpoint = f"tcp://{'[::1]' if six else '127.0.0.1'}:{made.getsockname()[1]}"
    made.listen()
    made.settimeout(10.0)
    yield made, endpoint
    made.close()


def test_a_dealer_of_libzmq_talks_to_us(
    context: zmq.Context[zmq.Socket[bytes]], listener: tuple[socket.socket, str]
) -> None:
    server, endpoint = listener
    dealer = context.socket(zmq.DEALER)
    dealer.set(zmq.IPV6, 1)
    # Where libzmq holds as many messages as it may, it reads no PONGs either, and gives the
    # connection up.
    dealer.set(zmq.RCVHWM, 0)
    for option, value in (
        (zmq.HEARTBEAT_IVL, 20),
        (zmq.HEARTBEAT_TIMEOUT, 20_000),
        (zmq.HEARTBEAT_TTL, 1_000),
    ):
        dealer.set(option, value)
    dealer.connect(endpoint)
    talk = Talk(server.accept()[0], b"ROUTER")
    over = threading.Event()

    def echo() -> None:
        while not over.is_set():
            for message in talk.receive():
                talk.connection.send(message)
            talk.socket.sendall(said(talk.connection))

    thread = threading.Thread(target=echo, daemon=True)
    thread.start()
    for size in SIZES:
        parts = [os.urandom(min(size, 4096)).ljust(size, b"x"), b"", b"last"]
        dealer.send_multipart(parts)
        assert dealer.poll(20_000)
        assert dealer.recv_multipart() == parts
    for number in range(3000):
        dealer.send(b"%d" % number)
    assert [dealer.recv() for _ in range(3000)] == [b"%d" % number for number in range(3000)]
    assert talk.connection.ttl == 1.0  # of its heartbeats
    over.set()
    dealer.send(b"end")
    thread.join(10.0)


@pytest.mark.parametrize("read", [1, 777, 1 << 16])
def test_we_talk_to_a_router_of_libzmq(context: zmq.Context[zmq.Socket[bytes]], read: int) -> None:
    router = context.socket(zmq.ROUTER)
    router.set(zmq.HEARTBEAT_IVL, 20)
    router.set(zmq.HEARTBEAT_TIMEOUT, 20_000)
    port = router.bind_to_random_port("tcp://127.0.0.1")
    sizes = [size for size in SIZES if size <= 2_000 * read]

    over = threading.Event()

    def echo() -> None:
        while not over.is_set():
            if router.poll(20):
                router.send_multipart(router.recv_multipart())

    thread = threading.Thread(target=echo, daemon=True)
    thread.start()
    try:
        with socket.create_connection(("127.0.0.1", port)) as made:
            talk = Talk(made, b"DEALER", read)
            for size in sizes:
                parts = [bytes(size), b"", b"last"]
                assert whole(talk.exchange(parts)) == [parts]
            assert talk.connection.ping(10.0, b"there?")
            while not talk.connection.pongs:
                talk.receive()
            assert whole(talk.exchange([b"again"])) == [[b"again"]]
    finally:
        over.set()
        thread.join(10.0)  # a socket is used by one thread: it is closed when that has ended
