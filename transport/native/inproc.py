"""`inproc://NAME`: servers of this process by name, and socket pairs that connect to them."""

from __future__ import annotations

import _socket  # which gevent does not patch
import socket as socketlib
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from ...backends.base import Loop
from ...errors import UsageError
from ..paths import in_use

# Maximum connections that wait for the server's loop. Each takes a descriptor.
BACKLOG = 128


class Listener:
    """A server's inproc endpoints. `begin` gets each new connection, on the server's loop."""

    def __init__(self, loop: Loop, begin: Callable[[_socket.socket], object]) -> None:
        self._loop = loop
        self._begin = begin
        self._endpoints: list[str] = []
        self._coming: deque[_socket.socket] = deque()
        self._closed = False

    def listen(self, endpoint: str) -> None:
        """Listen at the endpoint. Raises UsageError if it is in use."""
        if _listeners.setdefault(endpoint, self) is not self or endpoint in self._endpoints:
            raise UsageError(in_use(endpoint))
        self._endpoints.append(endpoint)

    @property
    def full(self) -> bool:
        """Whether the maximum of connections waits for the loop."""
        return len(self._coming) >= BACKLOG

    def add(self, connected: _socket.socket) -> None:
        """Add a new connection, from any thread."""
        self._coming.append(connected)
        if not self._closed:
            with suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._take)
                return
        self._turn_away()

    def close(self) -> None:
        self._closed = True
        self.forked()
        self._turn_away()

    def forked(self) -> None:
        """In a child: withdraw the endpoints."""
        for endpoint in self._endpoints:
            _listeners.pop(endpoint, None)

    def _take(self) -> None:
        try:
            connected = self._coming.popleft()
        except IndexError:
            return  # the connection was turned away
        self._begin(connected)

    def _turn_away(self) -> None:
        with suppress(IndexError):
            while True:
                self._coming.popleft().close()


# No lock is needed, as each step is one operation of a dict or a deque.
_listeners: dict[str, Listener] = {}


def connect(endpoint: str) -> _socket.socket:
    """Connect to a server of this process. Returns the client's half of a new socket pair.

    Raises ConnectionRefusedError if no server listens, OSError if the process can have no more
    sockets.
    """
    listener = _listeners.get(endpoint)
    if listener is None or listener.full:
        raise ConnectionRefusedError
    ours, theirs = (_socket.socket(fileno=half.detach()) for half in socketlib.socketpair())
    listener.add(theirs)
    return ours
