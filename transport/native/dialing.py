"""One connection attempt: look up a name in a thread, connect to its first address that answers.

The addresses are tried as in RFC 8305.
"""

from __future__ import annotations

import _socket  # which gevent does not patch
import errno
import os
import socket as socketlib
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from itertools import chain, zip_longest
from typing import Any

from ...backends import native
from ...backends.base import Handle, Loop
from ...endpoints import host_of, is_name
from .. import reasons
from ..paths import socket_name
from . import inproc

# Maximum seconds of one attempt, and seconds before the next address if the last has not answered.
WITHIN = 5.0
STAGGER = 0.25

Address = tuple[int, Any]  # the family, and the address for `connect`


class Dialing:
    """One connection attempt.

    It calls `done(connected, reason)` once, with a socket or with the reason why there is none, and
    never before `begin` has returned.
    """

    def __init__(
        self, loop: Loop, endpoint: str, done: Callable[[_socket.socket | None, str], object]
    ) -> None:
        self._loop = loop
        self._endpoint = endpoint
        self._done = done
        self._addresses: list[Address] = []
        self._tried: dict[_socket.socket, Handle] = {}
        self._timers: list[Handle] = []
        self._reason = ""
        self._over = False

    def begin(self) -> None:
        """Start the attempt. Raises OSError if the process can have no more sockets."""
        self._timers.append(self._loop.call_later(WITHIN, self._late))
        if self._endpoint.startswith("inproc://"):
            self._join()
            return
        host = host_of(self._endpoint)
        if host is None:
            path = self._endpoint.removeprefix("ipc://")
            self._addresses = [(socketlib.AF_UNIX, socket_name(path))]
            self._next()
            return
        port = int(self._endpoint.rpartition(":")[2])
        if is_name(host):
            native.start_thread(
                partial(_look_up, host, port, self._loop.call_soon_threadsafe, self._found)
            )
        else:
            self._addresses = _addresses(host, port)
            self._next()

    def _join(self) -> None:
        """Connect to a server of this process."""
        try:
            connected = inproc.connect(self._endpoint)
        except ConnectionRefusedError:
            self._failed(errno.ECONNREFUSED)
        else:
            self._loop.call_soon(self._end, connected, "")

    def cancel(self) -> None:
        self._over = True
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        for tried, watch in self._tried.items():
            watch.cancel()
            tried.close()
        self._tried.clear()

    def _found(self, addresses: list[Address]) -> None:
        if self._over:
            return
        if addresses:
            self._addresses = addresses
            self._go_on()
        else:
            host = host_of(self._endpoint)
            self._end(None, reasons.unresolved(host, self._endpoint))

    def _go_on(self) -> None:
        try:
            self._next()
        except OSError as error:  # no more sockets
            self._failed(error.errno or 0)

    def _next(self) -> None:
        """Try the next address, in parallel with those that have not answered yet."""
        if self._over or not self._addresses:
            return
        family, address = self._addresses.pop(0)
        tried = _socket.socket(family, socketlib.SOCK_STREAM)
        tried.setblocking(False)
        number = tried.connect_ex(address)
        if number in (0, errno.EINPROGRESS):
            self._tried[tried] = self._loop.watch_writable(
                tried.fileno(), partial(self._answered, tried)
            )
            if self._addresses:
                self._timers.append(self._loop.call_later(STAGGER, self._go_on))
        else:
            tried.close()
            self._failed(number)

    def _answered(self, tried: _socket.socket) -> None:
        watch = self._tried.pop(tried, None)
        if watch is None:
            return
        watch.cancel()
        number = tried.getsockopt(socketlib.SOL_SOCKET, socketlib.SO_ERROR)
        if number:
            tried.close()
            self._failed(number)
        else:
            self._end(tried, "")

    def _failed(self, number: int) -> None:
        self._reason = (
            self._reason or f"no server at {self._endpoint}: {os.strerror(number).lower()}"
        )
        if self._addresses:
            self._go_on()
        elif not self._tried:
            self._loop.call_soon(self._end, None, self._reason)

    def _late(self) -> None:
        if self._tried or self._reason:
            self._end(None, f"no server at {self._endpoint}: nothing has answered for {WITHIN:g} s")
        else:
            self._found([])  # the lookup of the name has not ended

    def _end(self, connected: _socket.socket | None, reason: str) -> None:
        if self._over:
            if connected is not None:
                connected.close()
            return
        self.cancel()
        self._done(connected, reason)


def _look_up(
    host: str, port: int, post: Callable[..., object], found: Callable[[list[Address]], object]
) -> None:
    """Look up the name, in a thread of its own. No effect if the loop is closed."""
    try:
        addresses = _addresses(host, port)
    except (OSError, UnicodeError):
        addresses = []
    with suppress(Exception):
        post(found, addresses)


def _addresses(host: str, port: int) -> list[Address]:
    """The addresses in the order to try them: families alternate, in the system's order."""
    found = native.getaddrinfo(host, port, type=socketlib.SOCK_STREAM)
    families = dict.fromkeys(family for family, *_ in found)
    by_family = [
        [(family, address) for kind, *_, address in found if kind == family] for family in families
    ]
    return [one for one in chain.from_iterable(zip_longest(*by_family)) if one is not None]
