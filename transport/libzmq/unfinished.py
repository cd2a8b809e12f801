"""Who fills the memory where nobody sees it: libzmq keeps the frames of a message until its last one has come, however many they are, and
whole messages until they are read.

No option of libzmq bounds the first, and to bound the second there would do more harm (decisions/0021). So the process's own memory is
looked at, and where it has grown, what each connection has received (by the kernel's count) beside whether it has said anything whole.
"""

from __future__ import annotations

import os
import socket as socketlib
import struct
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from ..memory import resident

if TYPE_CHECKING:
    from .server import Peer

# Seconds from one look at the memory to the next, and where it has grown; and the growth that is looked into, in bytes.
INTERVAL = 0.25
SOON = 0.05
GROWTH = 8 * 1024 * 1024

# Bytes in which a connection must have said something whole. (The handshake has its own time, which is libzmq's.)
HELLO_BYTES = 64 * 1024

# Bytes that libzmq takes for a batch that waits, beside its own.
BATCH = 128

# Heartbeats are no part of a message, and not this many bytes a second.
HEARTBEATS = 20.0

# In Linux's struct tcp_info: where the bytes received stand, as 64 bits.
_TCP_INFO = getattr(socketlib, "TCP_INFO", None)
_RECEIVED = slice(128, 136)


class _Connection:
    """One that libzmq has accepted: `base` is what it had received when it was last known to have said something whole."""

    __slots__ = ("base", "begun", "heard", "peer", "since")

    def __init__(self, peer: str) -> None:
        self.peer = peer
        self.base = 0
        self.heard = 0
        self.begun = self.since = time.monotonic()


class Unfinished:
    """Messages without an end, and those that nobody has read yet. `bound` is what a connection may have received of one, in bytes,
    `waiting` what all connections together may have received of the others, `most` how many connections there may be, and `hello` the
    seconds in which each must have said something."""

    def __init__(self, bound: int, waiting: int, most: int, hello: float) -> None:
        self._bound = bound
        self._waiting = waiting
        self._most = most
        self._hello = hello
        self._connections: dict[int, _Connection] = {}
        self._mute: dict[int, _Connection] = {}  # those of them that have said nothing yet, the oldest first
        self._resident = resident()
        self._growth = 0  # since all that was whole was last read

    def accepted(self, descriptor: int) -> tuple[int, str] | None:
        """The descriptor and peer of what has to go for it, if there are too many: who has been silent for longest, rather than who has
        spoken."""
        try:
            with socketlib.socket(fileno=os.dup(descriptor)) as connection:
                new = self._connections[descriptor] = _Connection(_peer(connection))
        except OSError:
            return None  # it has gone already
        self._mute.pop(descriptor, None)
        self._mute[descriptor] = new
        if len(self._connections) <= self._most:
            return None
        oldest = next(iter(self._mute))
        return oldest, self._mute.pop(oldest).peer

    def spoke(self, descriptor: int) -> None:
        """It has said something whole."""
        self._mute.pop(descriptor, None)

    def closed(self, descriptor: int) -> None:
        self._connections.pop(descriptor, None)
        self._mute.pop(descriptor, None)

    @property
    def waits(self) -> bool:
        """Whether a connection has said nothing for too long, as far as was read."""
        oldest = next(iter(self._mute.values()), None)
        return oldest is not None and time.monotonic() - oldest.since > self._hello

    def silent(self) -> Iterator[tuple[int, str]]:
        """The descriptor and peer of each connection that has said nothing for too long. To be called as `search`."""
        while self.waits:
            descriptor = next(iter(self._mute))
            yield descriptor, self._mute.pop(descriptor).peer

    def peer(self, descriptor: int) -> str:
        """The address behind it, as far as that is known."""
        connection = self._connections.get(descriptor)
        return "a client" if connection is None else connection.peer or "a local client"

    def grown(self) -> bool:
        """Whether the memory has grown so much since the last search that another is due."""
        now = resident()
        self._resident = min(self._resident, now)
        self._growth = now - self._resident
        return self._growth > GROWTH

    def unread(self, peers: Mapping[int, Peer]) -> Iterator[tuple[Peer, int]]:
        """The peers of which too much waits to be read, and how many bytes of memory that takes: the greatest first, until the rest is
        within the bound, or half of it where the memory has grown by twice as much."""
        bound = self._waiting if self._growth < 2 * self._waiting else self._waiting // 2
        waits = []
        now = time.monotonic()
        for descriptor, connection in self._connections.items():
            peer = peers.get(descriptor)
            received = None if peer is None else _received(descriptor, connection.peer)
            if peer is not None and received is not None:
                beats = HEARTBEATS * (now - connection.begun)
                # As many to a batch as there were so far.
                each = 1 + BATCH * peer.heard / max(1, peer.bytes)
                waits.append((each * (received - peer.bytes - beats), descriptor))
        waits.sort()
        total = sum(max(0.0, unread) for unread, _ in waits)
        while waits and total > bound:
            unread, descriptor = waits.pop()
            total -= unread
            yield peers[descriptor], int(unread)

    def search(self, peers: Mapping[int, Peer]) -> Iterator[tuple[int, str]]:
        """The descriptor and peer of each connection that has received too much of one message. To be called when all that libzmq
        has whole has been read; `peers` are those that have said something, by descriptor."""
        self._resident = resident()
        now = time.monotonic()
        for descriptor, connection in list(self._connections.items()):
            received = _received(descriptor, connection.peer)
            if received is None:
                continue
            peer = peers.get(descriptor)
            heard, bound = (0, HELLO_BYTES) if peer is None else (peer.heard, self._bound)
            if heard != connection.heard:
                connection.heard, connection.base, connection.since = heard, received, now
            elif received - connection.base - HEARTBEATS * (now - connection.since) > bound:
                yield descriptor, connection.peer


def shut_down(descriptor: int, peer: str) -> None:
    """End the connection that libzmq holds by this descriptor, if it is (still) that peer's: libzmq has no call for it."""
    try:
        with socketlib.socket(fileno=os.dup(descriptor)) as connection:
            if connection.family == socketlib.AF_UNIX or _peer(connection) == peer:
                # Reset, not finished: what the peer has still to send would wait in its own memory.
                connection.setsockopt(socketlib.SOL_SOCKET, socketlib.SO_LINGER, struct.pack("ii", 1, 0))
                connection.shutdown(socketlib.SHUT_RDWR)
    except OSError:
        pass  # it has ended by itself


def _peer(connection: socketlib.socket) -> str:
    if connection.family == socketlib.AF_UNIX:
        return ""
    return str(connection.getpeername()[0])


def _received(descriptor: int, peer: str) -> int | None:
    """Bytes, where the kernel counts them: on TCP."""
    try:
        with socketlib.socket(fileno=os.dup(descriptor)) as connection:
            if _TCP_INFO is None or _peer(connection) != peer:
                return None
            counts = connection.getsockopt(socketlib.IPPROTO_TCP, _TCP_INFO, _RECEIVED.stop)
    except OSError:
        return None
    return int.from_bytes(counts[_RECEIVED], "little") if len(counts) >= _RECEIVED.stop else None
