"""A hostile server: a ROUTER that sends a right welcome, and answers calls as a test decides."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec
import zmq
from raw import said, value
from ringback.protocol import codec
from ringback.protocol.messages import Call, End, Ping, Pong, Reply, Welcome

WELCOME = Welcome(b"s" * 16, "tests", 16 << 20, 1000, {})

# What a server does with a call: the batches that it sends.
Behaviour = Callable[[Call], list[list[bytes]]]


class Hostile:
    """A ROUTER that welcomes whom it hears, and answers calls as it likes."""

    def __init__(self, behaviour: Behaviour, welcome: list[list[bytes]], endpoint: str) -> None:
        self._behaviour, self._welcome = behaviour, welcome
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.ROUTER)
        self._socket.set(zmq.LINGER, 0)
        self._socket.bind(endpoint)
        self.endpoint = self._socket.get(zmq.LAST_ENDPOINT).decode()
        self._over = False
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        reader = codec.from_client()
        while not self._over:
            if not self._socket.poll(20):
                continue
            address, *frames = self._socket.recv_multipart()
            for message in reader.decode(frames):
                batches = self._welcome if type(message).__name__ == "Hello" else []
                if isinstance(message, Call):
                    batches = self._behaviour(message)
                elif isinstance(message, Ping):
                    batches = [said(Pong(message.token))]
                elif isinstance(message, End):
                    batches = [said(Reply(message.id, value(3)))]
                for batch in batches:
                    self._socket.send_multipart([address, *batch])

    def close(self) -> None:
        self._over = True
        self._thread.join()
        self._socket.close(0)
        self._context.term()


@contextmanager
def hostile(
    behaviour: Behaviour,
    welcome: list[list[bytes]] | None = None,
    endpoint: str = "tcp://127.0.0.1:*",
) -> Iterator[str]:
    server = Hostile(behaviour, [said(WELCOME)] if welcome is None else welcome, endpoint)
    try:
        yield server.endpoint
    finally:
        server.close()


def garbage(*tail: bytes) -> list[bytes]:
    return [codec.PREAMBLE + b"\xc1", *tail]


def raw_reply(call: Call, data: bytes) -> list[list[bytes]]:
    return [said(Reply(call.id, msgspec.Raw(data)))]
