"""A client's DEALER socket for one endpoint, and the monitor that reports on its connection."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import zmq
from zmq.utils.monitor import parse_monitor_message

from ... import errors
from ...backends import native
from ...backends.base import Loop
from ...endpoints import host_of, is_name
from .. import reasons
from ..base import BEAT, HANDSHAKE, SCARCE, SILENT, TTL, ClientEnd, ClientHost
from .greetings import mechanism_of
from .handshakes import HANDSHAKE_FAILED, Handshakes
from .pump import NOBLOCK, RCVMORE, Pump, monitor, new_context

if TYPE_CHECKING:
    from ...security.curve import ClientKeys

# Minimum seconds between two switches of a name's lookup between IPv4 and IPv6.
LOOK_UP = 1.0

# Seconds between two tries to send a message that was not accepted: a pipe does not report free
# room.
RETRY = 0.02

_WATCHED = (
    zmq.EVENT_HANDSHAKE_SUCCEEDED
    | HANDSHAKE_FAILED
    | zmq.EVENT_CLOSED
    | zmq.EVENT_DISCONNECTED
    | zmq.EVENT_CONNECT_RETRIED
)

_context: tuple[int, zmq.Context[Any]] | None = None


def shared_context() -> zmq.Context[Any]:
    """The ZeroMQ context of all clients of this process. A forked child gets its own context."""
    global _context
    if _context is None or _context[0] != os.getpid():
        _context = (os.getpid(), new_context())
        _context[1].set(zmq.MAX_SOCKETS, _context[1].get(zmq.SOCKET_LIMIT))
    return _context[1]


class Dealer(ClientEnd):
    """A client's end. `message`: maximum bytes of a message."""

    def __init__(
        self,
        loop: Loop,
        host: ClientHost,
        endpoint: str,
        context: zmq.Context[Any] | None,
        keys: ClientKeys | None,
        message: int,
    ) -> None:
        self._loop = loop
        self._host = host
        self._endpoint = endpoint
        self._context = context
        self._keys = keys
        self._message = message
        self._ipv6 = "[" in endpoint
        self._looked_up = -math.inf  # when the lookup last switched
        self._handshakes = Handshakes(endpoint, with_keys=keys is not None)
        self._socket: Any = None
        self._events: Any = None
        self._monitor: Any = None
        self._pump: Any = None
        self._retrying = self._closed = False

    def open(self) -> None:
        try:
            self._open(self._context if self._context is not None else shared_context())
        except zmq.ZMQError as error:
            text = f"cannot connect to {self._endpoint}: {error.strerror}"
            if error.errno in SCARCE:
                raise errors.ResourceExhausted(f"{text} in this process") from None
            raise errors.UsageError(text) from None
        if self._monitor is None:
            self._host.up()

    def _open(self, context: zmq.Context[Any]) -> None:
        socket = self._socket = context.socket(zmq.DEALER)
        socket.set(zmq.IMMEDIATE, 1)
        socket.set(zmq.LINGER, 0)
        socket.set(zmq.SNDHWM, 64)
        # No limit: the client's own calls bound the replies, and a full pipe could abort this
        # process (decisions/0021).
        socket.set(zmq.RCVHWM, 0)
        socket.set(zmq.MAXMSGSIZE, self._message)
        socket.set(zmq.RECONNECT_IVL, 100)
        socket.set(zmq.RECONNECT_IVL_MAX, 1000)
        socket.set(zmq.CONNECT_TIMEOUT, 5000)
        socket.set(zmq.HANDSHAKE_IVL, int(HANDSHAKE * 1000))
        socket.set(zmq.HEARTBEAT_IVL, int(BEAT * 1000))
        socket.set(zmq.HEARTBEAT_TIMEOUT, int(SILENT * 1000))
        socket.set(zmq.HEARTBEAT_TTL, int(TTL * 1000))
        socket.set(zmq.IPV6, self._ipv6)
        watched = _WATCHED if self._keys is None else _WATCHED | zmq.EVENT_CONNECTED
        if not self._endpoint.startswith("inproc://"):
            self._events = monitor(socket, context, watched)
            self._monitor = Pump(self._loop, self._events, self._event, self._host.turn_ended)
        if self._keys is not None:
            from .curve import protect  # few clients need it

            protect(socket, self._keys, self._endpoint)
        socket.connect(self._endpoint)
        self._pump = Pump(self._loop, socket, self._receive, self._host.turn_ended)

    def send(self, frames: Sequence[Any]) -> bool:
        if self._pump.send(frames):
            return True
        if not (self._retrying or self._closed):
            self._loop.call_later(RETRY, self._try_again)
            self._retrying = True
        return False

    def _try_again(self) -> None:
        self._retrying = False
        if not self._closed:
            self._host.turn_ended()

    def sent(self) -> None:
        self._pump.flushed()

    def close(self, linger: float) -> None:
        self._closed = True
        if self._pump is not None:
            self._pump.close(int(linger * 1000))
        elif self._socket is not None:  # the endpoint is unusable, or a signal cut `open`
            self._socket.disable_monitor()
            self._socket.close(0)
        if self._monitor is not None:
            self._monitor.close()
        elif self._events is not None:
            self._events.close(0)

    def _receive(self, first: bytes) -> None:
        frames: list[Any] = [first]
        socket = self._socket
        while socket.get(RCVMORE):
            frames.append(socket.recv(NOBLOCK, False))  # uncopied
        self._host.received(frames)

    def _event(self, first: bytes) -> None:
        told = parse_monitor_message([first, self._events.recv(NOBLOCK)])
        event = told["event"]
        if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
            self._handshakes.succeeded()
            self._host.up()
        elif event == zmq.EVENT_CONNECTED:
            self._handshakes.began(time.monotonic())
        elif event == zmq.EVENT_CLOSED:
            self._handshakes.closed()
        elif event == zmq.EVENT_DISCONNECTED:
            self._pump.drain()  # first take the messages that arrived before the end
            self._host.lost(self._handshakes.lost())
        elif event == zmq.EVENT_CONNECT_RETRIED:
            reason = self._handshakes.retried()
            self._look_up()
            self._host.failed(reason)
        else:
            known = self._host.known
            refusal = self._handshakes.failed(event, told["value"], time.monotonic(), known=known)
            if refusal is None:
                self._host.failed(self._handshakes.lost())
                if self._handshakes.unclear:
                    native.start_thread(
                        partial(
                            _ask, self._endpoint, self._loop.call_soon_threadsafe, self._greeted
                        )
                    )
            else:
                self._host.refused(refusal)

    def _look_up(self) -> None:
        """Switch a name's lookup to IPv6 if it has no IPv4 address, and back.

        libzmq uses only one address; asked for both kinds, it would use IPv6, where a server may
        not listen.
        """
        host, now = host_of(self._endpoint), time.monotonic()
        ipv6 = self._handshakes.unresolved and not self._ipv6
        if (
            host is None
            or not is_name(host)
            or ipv6 == self._ipv6
            or now - self._looked_up < LOOK_UP
        ):
            return
        self._ipv6, self._looked_up = ipv6, now
        self._socket.disconnect(self._endpoint)
        self._socket.set(zmq.IPV6, ipv6)
        self._socket.connect(self._endpoint)

    def _greeted(self, mechanism: str) -> None:
        """Handle the mechanism in the server's greeting."""
        if mechanism == "CURVE" and not self._closed:
            self._host.refused(reasons.wants_keys(self._endpoint))
            self._host.turn_ended()


def _ask(endpoint: str, post: Callable[..., object], greeted: Callable[[str], object]) -> None:
    """Ask for the server's mechanism, in a thread of its own. No effect if the loop is closed."""
    with suppress(Exception):
        post(greeted, mechanism_of(endpoint))
