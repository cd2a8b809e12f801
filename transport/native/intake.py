"""Bounds what the connections of one end have sent and nobody has served yet, in sum.

At the bound, a connection that holds a part of a message is read no further, and TCP slows its sender down. One of them is still read:
that of which most has come, as it ends first. If it is slow while others wait for it, it is closed.
"""

from __future__ import annotations

import sys
from typing import Protocol

from ...zmtp.connection import READ
from ...zmtp.errors import ZmtpError
from ..memory import Holes

# Bytes that are read at once from who has sent no part of a message, while there is too much of others.
_SIP = 4096
# Bytes that the one who is read has to send from one look to the next, where others wait for it.
_LEAST = 65_536


class UnservedConnection(Protocol):
    """A connection. `kept`: bytes that have come over it and are not served yet; `ready_at`: how many have to wait in the
    socket before the loop is told of them."""

    kept: int
    ready_at: int

    def pause(self) -> None:
        """Read no more."""

    def resume(self) -> None:
        """Read on."""

    def fail(self, error: Exception) -> None:
        """End it."""


class Intake:
    """`limit`: bytes. `UnservedConnection.kept` is the part of each connection. `holes`, where there are any, are told of bytes that are
    no longer kept."""

    def __init__(self, limit: int, holes: Holes | None) -> None:
        self._holes = holes
        self._limit = limit
        self._total = 0
        self._streams: dict[UnservedConnection, None] = {}  # of which something is kept
        self._paused: set[UnservedConnection] = set()
        self._served: UnservedConnection | None = None  # the one that is read, where there is too much
        self._seen = 0  # what was kept of it at the last look
        self.read = READ  # bytes to read at once

    @property
    def total(self) -> int:
        """Bytes of all connections."""
        return self._total

    def count(self, stream: UnservedConnection, kept: int) -> None:
        """So many bytes of the connection are kept now."""
        if kept < stream.kept and self._holes is not None:
            self._holes.passed(stream.kept - kept)
        self._total += kept - stream.kept
        stream.kept = kept
        if kept:
            self._streams[stream] = None
        else:
            self._streams.pop(stream, None)
            self._paused.discard(stream)
            if stream is self._served:
                self._served = None
        if self._total > self._limit:
            self.read = _SIP
        elif self.read == _SIP:
            self.read = READ
            self._served = None
            for paused in self._paused:
                paused.resume()
            self._paused.clear()
        if self._paused and self._served is None:
            self._serve_next()

    def admits(self, stream: UnservedConnection) -> bool:
        """Whether the connection may be read. If not, it is read no more until `UnservedConnection.resume`."""
        if self.read == READ or not stream.kept:
            return True
        if self._served is None:
            self._serve_next()
        if stream is self._served:
            return True
        self._paused.add(stream)
        stream.pause()
        return False

    def most(self, stream: UnservedConnection) -> int:
        """How much may be read of a large frame at once."""
        return sys.maxsize if stream is self._served else max(READ, self._limit - self._total)

    def look(self) -> None:
        """From time to time: is the one that others wait for slow?"""
        served = self._served
        if self._holes is not None:
            self._holes.look()
        if served is None or not self._paused:
            return
        if served.kept - self._seen < _LEAST and served.ready_at == 1:
            served.fail(ZmtpError("a message that does not end, while others wait"))
        else:
            self._seen = served.kept

    def _serve_next(self) -> None:
        self._served = served = max(self._streams, key=lambda stream: stream.kept)
        self._seen = served.kept
        if served in self._paused:
            self._paused.remove(served)
            served.resume()
