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

# Seconds from one look at who is silent to the next; and for which nobody is accepted where the process has no descriptor left.
LOOK = 1.0
REST = 0.1

# Why one is refused, and how many that have been told so may be there.
FULL, REFUSED = "there are as many connections as are taken", 16


class ServerStream(SocketStream):
    """One client: an `AcceptedConnection`."""

    __slots__ = ("_listeners", "age", "key", "peer", "session", "silent", "user")

    def __init__(
        self, listeners: Listeners, connected: _socket.socket, peer: str, mechanism: Mechanism | None = None
    ) -> None:
        machine = zmtp.Connection(b"ROUTER", mechanism or listeners.mechanism(self), bounds=listeners.bounds)
        receive = partial(listeners.host.received, self)
        super().__init__(listeners.loop, connected, machine, listeners.turns, receive)
        self.peer = peer
        self.user = self.key = ""
        self.session: Any = None
        self._listeners = listeners
        self.age = 0  # looks, until it has said something
        self.silent = 0  # looks since it was last heard

    def room(self) -> None:
        self._listeners.host.room(self)

    def ended(self, error: Exception | None) -> None:
        self._listeners.lost(self, error)

    def cut(self) -> None:
        self.reset()
        self._listeners.forget(self)


class Listeners(ServerEnd):
    """A server's end. All connections have their turns together."""

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
        self._directories: list[str] = []  # made for paths that were ours to choose
        self._sockets: list[_socket.socket] = []
        self._watches: dict[int, Handle] = {}
        self._within = inproc.Listener(loop, self._begin_within)
        self._peers: set[ServerStream] = set()
        self._mute: dict[
            ServerStream, None
        ] = {}  # those of them that have said nothing yet, the oldest first
        self._refused: dict[ServerStream, None] = {}  # too many, and told so; they leave by themselves
        self._look: Handle | None = None
        self.due = 0.0
        self._closed = False
        self._complaint = Bounded(log)
        forks.inherit(self)

    @property
    def unserved(self) -> int:
        return self.turns.intake.total

    # Life

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

    # Who comes

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
                return  # another process was faster, or it has gone again
            except OSError as error:
                if error.errno in SCARCE:  # it would be told of the same at once, for as long as that lasts
                    self._rest(bound, error.strerror)
                return
            connected = _socket.socket(bound.family, bound.type, bound.proto, fileno=descriptor)
            try:
                tune(connected)
                name = _name_of(connected, address)
            except OSError:  # it has gone already
                connected.close()
                continue
            self._begin(connected, name)

    def _begin(self, connected: _socket.socket, name: str) -> None:
        """Take a connection, or tell it that it is one too many."""
        if len(self._peers) < self._most or self._make_room():
            peer = ServerStream(self, connected, name)
            self._peers.add(peer)
            self._mute[peer] = None
        else:
            peer = self._refuse(connected, name)
        peer.begin()

    def _begin_within(self, connected: _socket.socket) -> None:
        """Take a connection from this process."""
        connected.setblocking(False)
        self._begin(connected, "inproc")

    def mechanism(self, peer: ServerStream) -> Mechanism:
        return Null() if self._admission is None else self._admission.mechanism(peer)

    def _make_room(self) -> bool:
        """There are as many connections as are taken: who has said nothing for longest has to go. False where all have spoken."""
        self._hear()
        oldest = next(iter(self._mute), None)
        if oldest is not None:
            self._hang_up(oldest, FULL)
        return oldest is not None

    def _refuse(self, connected: _socket.socket, name: str) -> ServerStream:
        """One too many, which is told so and comes back later. Who does not leave upon that goes before the next of its kind."""
        if len(self._refused) >= REFUSED:
            next(iter(self._refused)).cut()
        peer = ServerStream(
            self, connected, name, RefusingMechanism(FULL, b"NULL" if self._admission is None else b"CURVE")
        )
        self._refused[peer] = None
        self._complain(peer, FULL)
        return peer

    def _rest(self, bound: _socket.socket, why: str | None) -> None:
        """Accept nobody for a while: who comes waits with the kernel."""
        self._complaint(logging.WARNING, "accepts no connection: %s", why, fields={})
        self._watches.pop(bound.fileno()).cancel()
        self.loop.call_later(REST, self._listen, bound)

    # Who goes

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
            peer.session = None  # which knows the peer
        self.turns.end()

    def forget(self, peer: ServerStream) -> None:
        self._peers.discard(peer)
        self._mute.pop(peer, None)
        self._refused.pop(peer, None)

    def _hang_up(self, peer: ServerStream, why: str) -> None:
        """End a connection that has said nothing yet."""
        self._complain(peer, why)
        peer.cut()

    def _complain(self, peer: ServerStream, why: str) -> None:
        self.host.complain(peer.peer or "a local client", why)

    def _hear(self) -> None:
        """Who has spoken is no longer mute."""
        for peer in [peer for peer in self._mute if peer.session is not None]:
            del self._mute[peer]

    def speak(self) -> None:
        for peer in list(self._peers):
            peer.speak()

    def _look_later(self) -> None:
        self._look = self.loop.call_later(LOOK, self._look_around)
        self.due = time.monotonic() + LOOK

    def _look_around(self) -> None:
        """Who is silent for too long? It counts looks, and not seconds: a loop that was kept from reading has looked no more often."""
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
                self._hang_up(peer, f"it said nothing for {self._hello:g} s")
        for peer in list(self._peers):
            if peer.look() or peer.queued:
                peer.silent = 0
                continue
            peer.silent += 1
            if peer.machine.ttl and peer.silent * LOOK > peer.machine.ttl + LOOK:
                peer.fail(TimeoutError("it was silent for as long as it had said"))


def _name_of(connected: _socket.socket, address: object) -> str:
    """The address of a tcp client; of a local one, the user, group and process, where the system tells them."""
    if isinstance(address, tuple):
        return str(address[0])
    option = getattr(socketlib, "SO_PEERCRED", None)
    if option is None:
        return ""
    process, user, group = struct.unpack("3i", connected.getsockopt(socketlib.SOL_SOCKET, option, 12))
    return f"localhost:{user}:{group}:{process}"
