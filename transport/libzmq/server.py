"""A server's ROUTER socket: receives and sends frames, and tracks connections by libzmq's events.

libzmq hides much of what a server has to know of its clients, and has no call to end one
connection. Limits on a client's messages apply only once the messages are read, so this end is for
trusted clients (decisions/0021).
"""

from __future__ import annotations

import ctypes
import logging
import os
import socket as socketlib
import struct
from collections.abc import Sequence
from typing import Any

import zmq
from zmq.utils.monitor import parse_monitor_message

from ...backends import native
from ...backends.base import Handle, Loop
from ...runtime import forks
from ...security.curve import ServerKeys
from .. import reasons
from ..base import ServerBounds, ServerEnd, ServerHost
from ..listening import BACKLOG, InheritedSocket
from .admission import FAILED, ZapAdmission, is_of
from .binding import Bound
from .pump import NOBLOCK, RCVMORE, Pump, monitor, new_context

log = logging.getLogger("ringback.transport")

# Maximum batches of one client that wait to be read, on endpoints without another limit.
PIPE = 512

# Seconds between two tries to send messages that were not accepted: a ROUTER does not report which
# peer's pipe has room again.
RETRY = 0.02


class Peer:
    """One client, an `AcceptedConnection`.

    `address` is its routing id, which another client may get once the connection is lost.
    """

    unsent = 0  # libzmq does not report it
    __slots__ = ("_router", "address", "key", "peer", "session", "user")

    def __init__(self, router: Router, address: bytes, peer: str) -> None:
        self.peer = peer
        self.user = self.key = ""
        self.session: Any = None
        self._router = router
        self.address = address

    def send(self, frames: Sequence[Any]) -> bool:
        return self._router.send(self, frames)

    def cut(self) -> None:
        self._router.cut(self)


class Router(ServerEnd):
    """A server's end."""

    def __init__(
        self,
        loop: Loop,
        host: ServerHost,
        context: zmq.Context[Any] | None,
        bounds: ServerBounds,
        keys: ServerKeys | None,
    ) -> None:
        self._loop = loop
        self._host = host
        self._own_context = context is None
        self._context: zmq.Context[Any] = context if context is not None else new_context()
        self._bounds = bounds
        self._keys = keys
        self._admission: ZapAdmission | None = None  # with CURVE
        self._bound = Bound()
        self.endpoints = self._bound.endpoints
        self._peers: dict[bytes, Peer] = {}
        self._descriptors: dict[int, Peer] = {}
        self._left: list[Peer] = []  # disconnected, but the socket may still hold their messages
        self._pump: Pump | None = None
        self._monitor: Pump | None = None
        self._socket: Any = None
        self._events: Any = None
        self._retry: Handle | None = None
        forks.inherit(self)

    # Opening and closing

    def open(self, places: Sequence[str | InheritedSocket]) -> None:
        # libzmq numbers its peers from rand(). With the fixed seed a stranger could present the
        # next number and abort the process.
        ctypes.CDLL(None).srand(int.from_bytes(os.urandom(4), "little"))
        if self._keys is not None:
            self._admission = ZapAdmission(
                self._keys, self._context, self._loop, self._host.offends
            )
        socket = self._context.socket(zmq.ROUTER)
        try:
            if self._admission is not None:
                self._admission.protect(socket)
            socket.set(zmq.ROUTER_MANDATORY, 1)
            socket.set(zmq.SNDHWM, 64)
            socket.set(zmq.MAXMSGSIZE, self._bounds.message)
            socket.set(zmq.BACKLOG, BACKLOG)
            socket.set(zmq.HANDSHAKE_IVL, int(self._bounds.handshake * 1000))
            # The server sends no heartbeats (decisions/0021). Clients send them, with a time to
            # live. For clients that do not, TCP keepalive finds a lost connection.
            socket.set(zmq.TCP_KEEPALIVE, 1)
            socket.set(zmq.TCP_KEEPALIVE_IDLE, 20)
            socket.set(zmq.TCP_KEEPALIVE_INTVL, 5)
            socket.set(zmq.TCP_KEEPALIVE_CNT, 3)
            socket.set(zmq.IPV6, any("[" in str(place) for place in places))
            socket.set(zmq.LINGER, 0)
            for place in places:
                # A full pipe lets any client on it abort this process (decisions/0021).
                socket.set(zmq.RCVHWM, 0 if "tcp://" in str(place) else PIPE)
                self._bound.bind(socket, place)
            watched = zmq.EVENT_DISCONNECTED
            if self._admission is not None:
                watched |= FAILED
            events = monitor(socket, self._context, watched)
        except BaseException:
            socket.close(0)
            raise
        self._socket, self._events = socket, events
        # For processes that inherit their sockets, the supervisor logs the warning.
        own = [
            real
            for place, real in zip(places, self.endpoints, strict=True)
            if isinstance(place, str)
        ]
        reached = [endpoint for endpoint in own if not endpoint.startswith("inproc://")]
        if reached:
            log.warning("%s", reasons.for_trusted_clients(reached))
        self._monitor = Pump(self._loop, events, self._event, lambda: None)
        self._pump = Pump(self._loop, socket, self._receive, self._turn_ended)
        if self._admission is not None:
            self._admission.watch(lambda: self._peers.values())

    def sent(self) -> None:
        if self._pump is not None:
            self._pump.flushed()

    def close(self, linger: float) -> None:
        if self._retry is not None:
            self._retry.cancel()
        opened = self._pump is not None
        if self._pump is not None and self._monitor is not None:
            self._pump.close(int(linger * 1000))
            self._monitor.close()
            self._pump = None
        if self._admission is not None:
            self._admission.close()
        if not self._own_context:
            self._bound.release()
        elif not opened:
            self._terminate()  # there are no unsent replies
        else:
            # Termination waits for unsent replies, so it must not run on the loop.
            self.closing = native.start_thread(self._terminate)

    def _terminate(self) -> None:
        self._context.term()
        # Only now: no other server may have a path that libzmq has yet to remove.
        self._bound.release()

    def forked(self) -> None:
        self._pump = self._monitor = None
        if self._retry is not None:
            self._retry.cancel()
        self._bound.forked()

    # Receiving

    def _receive(self, address: bytes) -> None:
        """Receive one batch."""
        frames: list[Any]
        peer = self._peers.get(address)
        if peer is None:
            peer, frames = self._contacted(address, self._rest())
        elif self._admission is not None:
            peer, frames = self._next_contact(peer)
        else:
            socket = self._socket
            frames = [socket.recv(NOBLOCK)]
            while socket.get(RCVMORE):
                frames.append(socket.recv(NOBLOCK, False))  # uncopied
        for _ in self._host.received(peer, frames) or ():
            pass

    def _next_contact(self, peer: Peer) -> tuple[Peer, list[Any]]:
        """The connection and frames of the next batch of a known routing id.

        Another client may get the id once the connection is lost, and libzmq reports the loss apart
        from the messages.
        """
        parts = self._rest()
        if is_of(parts[0], peer):
            return peer, [parts[0].bytes, *parts[1:]]
        self._forget(peer)
        return self._contacted(peer.address, parts)

    def _rest(self) -> list[zmq.Frame]:
        parts = [self._socket.recv(NOBLOCK, copy=False)]
        while parts[-1].more:
            parts.append(self._socket.recv(NOBLOCK, copy=False))
        return parts

    def _contacted(self, address: bytes, parts: list[zmq.Frame]) -> tuple[Peer, list[Any]]:
        """Register a new connection by its first frames.

        A frame has the connection's descriptor, which the monitor reports when the connection is
        lost.
        """
        try:
            descriptor = parts[0].get(zmq.SRCFD)
            name = str(parts[0].get("Peer-Address"))
        except zmq.ZMQError:  # inproc has neither
            descriptor, name = -1, "inproc"
        if self._monitor is not None:
            self._monitor.drain()  # descriptors are reused: first handle the lost connections
        peer = self._peers[address] = Peer(self, address, name)
        if descriptor >= 0:
            self._descriptors[descriptor] = peer
        if self._admission is not None:
            self._admission.identify(peer, peer.address, parts[0])
        return peer, [parts[0].bytes, *parts[1:]]

    def _event(self, first: bytes) -> None:
        event = parse_monitor_message([first, self._events.recv(NOBLOCK)])
        if self._admission is not None and event["event"] != zmq.EVENT_DISCONNECTED:
            self._admission.failed(event["event"])
            return
        peer = self._descriptors.pop(event["value"], None)
        if peer is not None:
            self._forget(peer)

    def _forget(self, peer: Peer) -> None:
        self._left.append(peer)
        if self._pump is not None:
            self._pump.schedule()
        self._host.lost(peer)

    def _turn_ended(self) -> None:
        pump = self._pump
        if pump is not None and pump.dry:
            for peer in self._left:
                if self._peers.get(peer.address) is peer:  # not another client
                    del self._peers[peer.address]
                peer.session = None  # the session refers to the peer
            self._left.clear()
        if self._retry is None:
            self._host.turn_ended()
        else:
            self._host.room(None)

    # Sending

    def send(self, peer: Peer, frames: Sequence[Any]) -> bool:
        if self._pump is None:
            return True  # the server has ended
        try:
            if self._pump.send([peer.address, *frames]):
                return True
        except zmq.ZMQError:  # EHOSTUNREACH: it has left; the monitor will report it too
            self._forget(peer)
            return True
        if self._retry is None:
            self._retry = self._loop.call_later(RETRY, self._try_again)
        return False

    def _try_again(self) -> None:
        self._retry = None
        self._host.room(None)

    # Harmful clients

    def cut(self, peer: Peer) -> None:
        """End the connection from this side, for which libzmq has no call."""
        if self._monitor is not None:
            self._monitor.drain()  # the descriptor may belong to another connection by now
        for descriptor, other in list(self._descriptors.items()):
            if other is peer:
                _shut_down(descriptor, peer.peer)


def _shut_down(descriptor: int, peer: str) -> None:
    """End libzmq's connection with this descriptor, if it (still) belongs to the peer."""
    try:
        with socketlib.socket(fileno=os.dup(descriptor)) as connection:
            local = connection.family == socketlib.AF_UNIX
            if local or connection.getpeername()[0] == peer:
                # Reset: after a normal close, the peer's unsent data would stay in its memory.
                connection.setsockopt(
                    socketlib.SOL_SOCKET, socketlib.SO_LINGER, struct.pack("ii", 1, 0)
                )
                connection.shutdown(socketlib.SHUT_RDWR)
    except OSError:
        pass  # the connection has already ended
