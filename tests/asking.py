"""A client that says what it is told to, and reads what it is answered, message by message."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import zmq
from processes import SOON
from ringback import errors
from ringback.protocol import codec
from ringback.protocol.messages import Hello, Welcome


class Asking:
    """One connection, which has said hello; `welcome` is what it was answered."""

    def __init__(self, socket: zmq.Socket[bytes]) -> None:
        self.socket = socket
        self._reader = codec.from_server()
        self._read: list[Any] = []
        self.say(Hello(b"h" * 16, 16 << 20, "test"))
        self.welcome = self.next()
        assert isinstance(self.welcome, Welcome)

    def say(self, *messages: Any) -> None:
        for batch in codec.Encoder().encode(list(messages)):
            self.socket.send_multipart([bytes(frame) for frame in batch])

    def next(self) -> Any:
        """The next message. Raises where there is none in time."""
        while not self._read:
            self._read = self._reader.decode(self.socket.recv_multipart())
        return self._read.pop(0)


@contextmanager
def asking(endpoint: str) -> Iterator[Asking]:
    """A connection of its own."""
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        socket.set(zmq.LINGER, 0)
        socket.set(zmq.RCVTIMEO, int(SOON * 1000))
        socket.connect(endpoint)
        yield Asking(socket)


def refused(client: Any, method: str) -> bool:
    """Whether a client may not call that method."""
    try:
        client.call(method)
    except errors.CallError as error:
        return isinstance(error, errors.PermissionDenied)
    return False
