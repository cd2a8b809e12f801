"""Limits the bytes that the connections of one end have sent and the end has not handled yet.

At the limit, the end stops reading connections that hold a part of a message, and TCP slows their
senders down (backpressure). It still reads one of them: the one with the most bytes, as that
message ends first. If that connection is slow while others wait for it, the end closes it.
"""

from __future__ import annotations

import sys
from typing import Protocol

from ...zmtp.connection import READ
from ...zmtp.errors import ZmtpError
from ..memory import Holes

# Bytes to read at once from a connection that holds no part of a message, while the total is above
# the limit.
_SIP = 4096
# Minimum bytes that the connection being read has to send between two checks while others wait for
# it.
_LEAST = 65_536


class UnservedConnection(Protocol):
    """A connection whose unhandled bytes count.

    `kept`: its bytes that are received and not handled yet. `ready_at`: bytes that have to be in
    the socket before it becomes readable.
    """

    kept: int
    ready_at: int

    def pause(self) -> None:
        """Stop reading."""

    def resume(self) -> None:
        """Continue reading."""

    def fail(self, error: Exception) -> None:
        """End the connection."""


class Intake:
    """The unhandled bytes of all connections of one end.

    `limit`: maximum bytes. `UnservedConnection.kept` is the part of one connection. `holes`, if
    given, counts the freed bytes.
    """

    def __init__(self, limit: int, holes: Holes | None) -> None:
        self._holes = holes
        self._limit = limit
        self._total = 0
        self._streams: dict[UnservedConnection, None] = {}  # those with unhandled bytes
        self._paused: set[UnservedConnection] = set()
        self._served: UnservedConnection | None = None  # the one that is read above the limit
        self._seen = 0  # its `kept` at the last check
        self.read = READ  # bytes to read at once

    @property
    def total(self) -> int:
        """Unhandled bytes of all connections."""
        return self._total

    def count(self, stream: UnservedConnection, kept: int) -> None:
        """The connection now has `kept` unhandled bytes."""
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
        """Whether to read the connection. If not, it pauses until `UnservedConnection.resume`."""
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
        """Maximum bytes to read of a large frame at once."""
        return sys.maxsize if stream is self._served else max(READ, self._limit - self._total)

    def look(self) -> None:
        """Called periodically: end the connection that others wait for, if it is slow."""
        served = self._served
        if self._holes is not None:
            self._holes.look()
        if served is None or not self._paused:
            return
        if served.kept - self._seen < _LEAST and served.ready_at == 1:
            served.fail(
                ZmtpError("an unfinished message was too slow while other connections waited")
            )
        else:
            self._seen = served.kept

    def _serve_next(self) -> None:
        self._served = served = max(self._streams, key=lambda stream: stream.kept)
        self._seen = served.kept
        if served in self._paused:
            self._paused.remove(served)
            served.resume()
