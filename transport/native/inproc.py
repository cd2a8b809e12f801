"""`inproc://NAME`: the servers of this process by their names, and socket pairs to them."""

from __future__ import annotations

import _socket  # which gevent does not patch
import socket as socketlib
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from ...backends.base import Loop
from ...errors import UsageError
from ..paths import in_use

# Connections that wait for the server's loop: each takes a descriptor.
BACKLOG = 128


class Listener:
    """One server's. `begin` takes each new connection, on the server's loop."""

    def __init__(self, loop: Loop, begin: Callable[[_socket.socket], object]) -> None:
        self._loop = loop
        self._begin = begin
        self._endpoints: list[str] = []
        self._coming: deque[_socket.socket] = deque()
        self._closed = False

    def listen(self, endpoint: str) -> None:
        """Raises UsageError where the endpoint is in use."""
        if _listeners.setdefault(endpoint, self) is not self or endpoint in self._endpoints:
            raise UsageError(in_use(endpoint))
        self._endpoints.append(endpoint)

    @property
    def full(self) -> bool:
        """Whether so many connections wait for the loop that no other may come."""
        return len(self._coming) >= BACKLOG

    def add(self, connected: _socket.socket) -> None:
        """A new connection, from any thread."""
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
        """In a child: nobody finds it any more."""
        for endpoint in self._endpoints:
            _listeners.pop(endpoint, None)

    def _take(self) -> None:
        try:
            connected = self._coming.popleft()
        except IndexError:
            return  # it was turned away
        self._begin(connected)

    def _turn_away(self) -> None:
        with suppress(IndexError):
            while True:
                self._coming.popleft().close()


# (Each step is one operation of a dict or a deque: no lock is needed.)
_listeners: dict[str, Listener] = {}


def connect(endpoint: str) -> _socket.socket:
    """The client's half of a new pair. Raises ConnectionRefusedError where no server listens, OSError where there is no socket."""
    listener = _listeners.get(endpoint)
    if listener is None or listener.full:
        raise ConnectionRefusedError
    ours, theirs = (_socket.socket(fileno=half.detach()) for half in socketlib.socketpair())
    listener.add(theirs)
    return ours
