"""A server's listening sockets, and the connections that they accept."""

from __future__ import annotations

import _socket  # which gevent does not patch
import logging
import os
import socket as socketlib
import struct
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from ...backends import native
from ...backends.base import Handle, Loop
from ...logs.bounded import Bounded
from ...runtime import forks
from ...zmtp import connection as zmtp
from ...zmtp.errors import ZmtpError
from ...zmtp.mechanisms import Mechanism, Null, RefusingMechanism
from .. import reasons
from ..base import SCARCE, ServerBounds, ServerEnd, ServerHost
from ..listening import InheritedSocket, listen_alone
from ..paths import OwnedPaths
from . import inproc
from .admission import CurveAdmission
from .keeper import keeper
from .sockets import send_rest, tune
from .stream import SocketStream
from .turns import Turns

if TYPE_CHECKING:
    from ...security.curve import ServerKeys

log = logging.getLogger("ringback.transport")

# Connections accepted in one turn of the loop.
ACCEPTED_PER_TURN = 64

# Seconds between two checks for silent clients; and the pause in accepting connections when the
# process has no descriptor left.
LOOK = 1.0
REST = 0.1

# The reason for a refused connection at the limit, and the maximum of refused connections still
# open.
FULL, REFUSED = "the server has reached its limit of connections", 16


class ServerStream(SocketStream):
    """The connection of one client: an `AcceptedConnection`."""

    __slots__ = ("_listeners", "age", "key", "peer", "session", "silent", "user")

    def __init__(
        self,
        listeners: Listeners,
        connected: _socket.socket,
        peer: str,
        mechanism: Mechanism | None = None,
    ) -> None:
        machine = zmtp.Connection(
            b"ROUTER", mechanism or listeners.mechanism(self), bounds=listeners.bounds
        )
        receive = partial(listeners.host.received, self)
        super().__init__(listeners.loop, connected, machine, listeners.turns, receive)
        self.peer = peer
        self.user = self.key = ""
        self.session: Any = None
        self._listeners = listeners
        self.age = 0  # checks before its first message
        self.silent = 0  # checks since its last sign of life

    def room(self) -> None:
        self._listeners.host.room(self)

    def ended(self, error: Exception | None) -> None:
        self._listeners.lost(self, error)

    def cut(self) -> None:
        self.reset()
        self._listeners.forget(self)


class Listeners(ServerEnd):
    """A server's end: its listening sockets and connections."""

    def __init__(
        self, loop: Loop, host: ServerHost, bounds: ServerBounds, keys: ServerKeys | None = None
    ) -> None:
        self.loop = loop
        self._admission = None if keys is None else CurveAdmission(keys)
        self.host = host
        self.bounds = zmtp.Bounds(message=bounds.message, frames=bounds.frames)
        self._handshake, self._hello = bounds.handshake, bounds.hello
        self.turns = Turns(loop, host.turn_ended, bounds.unserved)
        self.endpoints = []
        self._most = bounds.connections
        self._paths = OwnedPaths()
        self._directories: list[str] = []  # made for `ipc://*`
        self._sockets: list[_socket.socket] = []
        self._watches: dict[int, Handle] = {}
        self._within = inproc.Listener(loop, self._begin_within)
        self._peers: set[ServerStream] = set()
        self._mute: dict[ServerStream, None] = {}  # peers without a message yet, the oldest first
        self._refused: dict[ServerStream, None] = {}  # refused peers, which leave by themselves
        self._look: Handle | None = None
        self.due = 0.0
        self._closed = False
        self._complaint = Bounded(log)
        forks.inherit(self)

    @property
    def unserved(self) -> int:
        return self.turns.intake.total

    # Opening and closing

    def open(self, places: Sequence[str | InheritedSocket]) -> None:
        for place in places:
            if isinstance(place, str) and place.startswith("inproc://"):
                self._within.listen(place)
                self.endpoints.append(place)
                continue
            if isinstance(place, str):
                if place == "ipc://*":
                    self._directories.append(tempfile.mkdtemp(prefix="ringback-"))
                    place = f"ipc://{self._directories[-1]}/socket"
                self._paths.take(place)
                endpoint, listener = listen_alone(place)
                self._paths.keep(endpoint)
                descriptor = listener.detach()
            else:
                endpoint, descriptor = place.endpoint, os.dup(place.descriptor)
            bound = _socket.socket(fileno=descriptor)
            self._sockets.append(bound)
            bound.setblocking(False)
            self.endpoints.append(endpoint)
            self._listen(bound)
        self._look_later()
        keeper.keep(self)

    def sent(self) -> None:
        pass

    def close(self, linger: float) -> None:
        self._closed = True
        keeper.let_go(self)
        if self._look is not None:
            self._look.cancel()
        for watch in self._watches.values():
            watch.cancel()
        self._watches.clear()
        for bound in self._sockets:
            bound.close()
        self._sockets.clear()
        self._within.close()
        rest = [left for peer in self._peers if (left := peer.detach()) is not None]
        for peer in list(self._refused):
            peer.cut()
        self._peers.clear()
        self._mute.clear()
        self._paths.release()
        for directory in self._directories:
            with suppress(OSError):
                os.rmdir(directory)
        if rest:
            self.closing = native.start_thread(partial(send_rest, rest, linger))

    def forked(self) -> None:
        self._closed = True
        self._paths.forked()
        self._within.forked()
        for peer in (*self._peers, *self._refused):
            peer.forked()
        if not self.loop.shares_watches:
            for watch in self._watches.values():
                watch.cancel()
        if self._look is not None:
            self._look.cancel()

    # New connections

    def _listen(self, bound: _socket.socket) -> None:
        if not self._closed:
            descriptor = bound.fileno()
            self._watches[descriptor] = self.loop.watch(descriptor, partial(self._accept, bound))

    def _accept(self, bound: _socket.socket) -> None:
        for _ in range(ACCEPTED_PER_TURN):
            if self._closed:
                return
            try:
                descriptor, address = bound._accept()  # type: ignore[attr-defined]
            except (BlockingIOError, ConnectionError):
                return  # another process was faster, or the client has left again
            except OSError as error:
                if error.errno in SCARCE:  # the socket stays readable: pause
                    self._rest(bound, error.strerror)
                return
            connected = _socket.socket(bound.family, bound.type, bound.proto, fileno=descriptor)
            try:
                tune(connected)
                name = _name_of(connected, address)
            except OSError:  # the client has already left
                connected.close()
                continue
            self._begin(connected, name)

    def _begin(self, connected: _socket.socket, name: str) -> None:
        """Start a connection, or refuse it at the limit."""
        if len(self._peers) < self._most or self._make_room():
            peer = ServerStream(self, connected, name)
            self._peers.add(peer)
            self._mute[peer] = None
        else:
            peer = self._refuse(connected, name)
        peer.begin()

    def _begin_within(self, connected: _socket.socket) -> None:
        """Start an inproc connection."""
        connected.setblocking(False)
        self._begin(connected, "inproc")

    def mechanism(self, peer: ServerStream) -> Mechanism:
        return Null() if self._admission is None else self._admission.mechanism(peer)

    def _make_room(self) -> bool:
        """At the limit, cut off the oldest connection without a message. False if there is none."""
        self._hear()
        oldest = next(iter(self._mute), None)
        if oldest is not None:
            self._hang_up(oldest, FULL)
        return oldest is not None

    def _refuse(self, connected: _socket.socket, name: str) -> ServerStream:
        """Refuse a connection beyond the limit, with an ERROR; the client tries again later.

        Above REFUSED refused connections, the oldest one that has not left is cut off.
        """
        if len(self._refused) >= REFUSED:
            next(iter(self._refused)).cut()
        peer = ServerStream(
            self,
            connected,
            name,
            RefusingMechanism(FULL, b"NULL" if self._admission is None else b"CURVE"),
        )
        self._refused[peer] = None
        self._complain(peer, FULL)
        return peer

    def _rest(self, bound: _socket.socket, why: str | None) -> None:
        """Accept no connections for a while; new ones wait in the kernel's backlog."""
        self._complaint(logging.WARNING, "accepting connections paused: %s", why, fields={})
        self._watches.pop(bound.fileno()).cancel()
        self.loop.call_later(REST, self._listen, bound)

    # Ended connections

    def lost(self, peer: ServerStream, error: Exception | None) -> None:
        refused = peer in self._refused
        self.forget(peer)
        if isinstance(error, ZmtpError) and not refused:
            if self._admission is not None and not peer.machine.open:
                self._admission.refused(peer, error)
            else:
                self._complain(peer, str(error))
        if peer.session is not None:
            self.host.lost(peer)
            peer.session = None  # the session refers to the peer
        self.turns.end()

    def forget(self, peer: ServerStream) -> None:
        self._peers.discard(peer)
        self._mute.pop(peer, None)
        self._refused.pop(peer, None)

    def _hang_up(self, peer: ServerStream, why: str) -> None:
        """End a connection without a message yet."""
        self._complain(peer, why)
        peer.cut()

    def _complain(self, peer: ServerStream, why: str) -> None:
        self.host.complain(peer.peer or "a local client", why)

    def _hear(self) -> None:
        """Remove peers that have sent a message from the mute ones."""
        for peer in [peer for peer in self._mute if peer.session is not None]:
            del self._mute[peer]

    def speak(self) -> None:
        for peer in list(self._peers):
            peer.speak()

    def _look_later(self) -> None:
        self._look = self.loop.call_later(LOOK, self._look_around)
        self.due = time.monotonic() + LOOK

    def _look_around(self) -> None:
        """Check for clients that are silent for too long, or no longer authorized.

        Time is counted in checks and not in seconds: a loop that could not read could not check
        either.
        """
        self._look_later()
        self._hear()
        self.turns.intake.look()
        if self._admission is not None:
            for peer in self._admission.revoked(self._peers):
                self.host.offends(peer, reasons.revoked(peer.user))
        for peer in [*self._mute, *self._refused]:
            peer.age += 1
            if not peer.machine.open and peer.age * LOOK > self._handshake:
                self._hang_up(peer, f"its handshake took more than {self._handshake:g} s")
            elif peer.age * LOOK > self._hello:
                self._hang_up(peer, f"it sent nothing for {self._hello:g} s")
        for peer in list(self._peers):
            if peer.look() or peer.queued:
                peer.silent = 0
                continue
            peer.silent += 1
            if peer.machine.ttl and peer.silent * LOOK > peer.machine.ttl + LOOK:
                peer.fail(TimeoutError("it was silent for longer than its announced time to live"))


def _name_of(connected: _socket.socket, address: object) -> str:
    """The address of a tcp client; for a local client, its user, group and process, if known."""
    if isinstance(address, tuple):
        return str(address[0])
    option = getattr(socketlib, "SO_PEERCRED", None)
    if option is None:
        return ""
    process, user, group = struct.unpack(
        "3i", connected.getsockopt(socketlib.SOL_SOCKET, option, 12)
    )
    return f"localhost:{user}:{group}:{process}"
