"""Peers that keep to no rule: batches from a bare socket, ZMTP by hand over TCP, and what is looked
at while they do it.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import zmq
from ringback.protocol import codec
from ringback.protocol.messages import Hello
from ringback.protocol.values import pack, pack_args

LIMIT = 1 << 30
HELLO = Hello(b"h" * 16, LIMIT, "hostile")

GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)


def ready(identity: bytes = b"", kind: bytes = b"DEALER") -> bytes:
    body = b"\x05READY" + b"\x0bSocket-Type" + len(kind).to_bytes(4, "big") + kind
    if identity:
        body += b"\x08Identity" + len(identity).to_bytes(4, "big") + identity
    return zmtp(body, command=True)


def zmtp(body: bytes, *, more: bool = False, command: bool = False) -> bytes:
    """One frame."""
    return bytes([more | 2 | command << 2]) + len(body).to_bytes(8, "big") + body


def zmtp_short(body: bytes, *, more: bool = False) -> bytes:
    """A frame of less than 256 bytes, in its short form."""
    return bytes([more, len(body)]) + body


def reset(connection: socket.socket) -> None:
    """End it so that the other side is told of a broken connection, and not of its end."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def said(*messages: Any) -> list[bytes]:
    """The messages as the frames of one batch."""
    return [bytes(frame) for frame in codec.Encoder().encode(list(messages))[0]]


def args(*values: Any) -> Any:
    return pack_args(values, LIMIT)


def value(one: Any) -> Any:
    return pack(one, LIMIT)


class Dealer:
    """A bare DEALER.

    What it cannot send in two seconds, nobody takes any more: `send` then says False.
    """

    def __init__(
        self, endpoint: str, *, hello: bool = True, identity: bytes = b"", again: bool = False
    ) -> None:
        self._context = zmq.Context()
        self.socket = self._context.socket(zmq.DEALER)
        self.socket.set(zmq.LINGER, 0)
        self.socket.set(zmq.SNDHWM, 100)
        self.socket.set(zmq.SNDTIMEO, 2000)
        self.socket.set(zmq.RCVTIMEO, 5000)
        if not again:
            self.socket.set(zmq.RECONNECT_IVL, -1)
        if identity:
            self.socket.set(zmq.ROUTING_ID, identity)
        self.socket.connect(endpoint)
        self._decoder = codec.from_server()
        if hello:
            self.say(HELLO)

    def say(self, *messages: Any) -> bool:
        return self.send(said(*messages))

    def send(self, frames: list[bytes]) -> bool:
        try:
            self.socket.send_multipart(frames)
        except zmq.Again:
            return False
        return True

    def hear(self) -> list[Any]:
        """The next batch; none where none comes."""
        try:
            return self._decoder.decode(self.socket.recv_multipart())
        except zmq.Again:
            return []

    def skip(self) -> None:
        """Read all that has come, without a look at it."""
        while self.socket.poll(0):
            self.socket.recv_multipart()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.socket.close(500)  # what was said is to arrive
        self._context.term()


def address(endpoint: str) -> tuple[str, int]:
    host, _, port = endpoint.removeprefix("tcp://").rpartition(":")
    return host, int(port)


@contextmanager
def by_hand(
    endpoint: str, *, handshake: bool = True, hello: bool = True, identity: bytes = b""
) -> Iterator[socket.socket]:
    """A TCP connection that speaks ZMTP only as far as it is told."""
    with socket.create_connection(address(endpoint), timeout=15) as connection:
        if handshake:
            connection.sendall(GREETING + ready(identity))
            heard = b""
            while b"READY" not in heard:
                heard += received(connection)
            if hello:
                connection.sendall(zmtp(said(HELLO)[0]))
        yield connection


def received(connection: socket.socket) -> bytes:
    """The next bytes.

    Raises ConnectionError at the end of the connection, instead of b"" for ever.
    """
    data = connection.recv(4096)
    if not data:
        raise ConnectionError("the server has ended the connection")
    return data


def resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def processor_time(pid: int) -> float:
    """Seconds that all its threads have run for."""
    threads = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(thread.read_text().split()[0]) for thread in threads) / 1e9


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def threads(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/task"))


class Honest:
    """A client in another process, that calls all the time (`honest.py`) beside what is done here."""

    def __init__(self, endpoint: str, *keys: str) -> None:
        """`keys`: the files of the server's public key and of its own secret one."""
        script = Path(__file__).with_name("honest.py")
        self._process = subprocess.Popen(
            [sys.executable, str(script), endpoint, *keys],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.took: list[float] = []
        self.wrong: list[str] = []
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"

    def _say(self, word: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(word + "\n")
        self._process.stdin.flush()

    @contextmanager
    def calling(self) -> Iterator[Self]:
        self._say("begin")
        try:
            yield self
        finally:
            self._say("end")
            assert self._process.stdout is not None
            told = json.loads(self._process.stdout.readline())
            self.took, self.wrong = sorted(told["took"]), told["wrong"]

    def quantile(self, part: float) -> float:
        return self.took[min(len(self.took) - 1, int(part * len(self.took)))]

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(15)
        self._process.stdout.close()


class Watch:
    """The most memory that a process held meanwhile."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self.before = self.most = resident(pid)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def _look(self) -> None:
        while not self._over.wait(0.02):
            self.most = max(self.most, resident(self._pid))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._over.set()
        self._thread.join()
