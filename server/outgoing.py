"""Answers on their way out: sent in batches, and held, within bounds, for a client that does not read them."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from .. import errors
from ..backends.base import Handle, Loop
from ..protocol import codec
from ..protocol.messages import FromServer
from ..protocol.server import Session
from ..transport.base import Connection

# A client that has read nothing for so long (seconds), though there is something, is not coming back to it.
PATIENCE = 30.0
# Seconds from one look at who reads nothing to the next.
LOOK = 1.0
# What may wait for one client, in times of the largest value. Above the first its streams rest. Above the second its calls are refused if
# it does not read. Above the third they are refused in any case, and the client is cut off if it does not read.
REST_AT, REFUSE_AT, CUT_AT = 0.5, 1, 2
# The part of what may wait for all clients together above which the calls of those that do not read are refused; and in times of it, the
# bound above which clients are cut off however recently they have read.
REFUSE_PART, HARD = 0.5, 2

# Seconds without reading after which a client counts as one that does not read.
NOT_READING = 0.1


class Held:
    """What waits for one client: batches that its connection has not taken, and what the connection has taken and not sent. `bytes` is how
    much that is, `since` when the client was last seen to read."""

    __slots__ = ("_batched", "_batches", "_connection", "bytes", "since")

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._batches: deque[Sequence[Any]] = deque()
        self._batched = 0  # bytes in them
        self.since = time.monotonic()
        self.bytes = 0

    def add(self, batches: Iterable[Sequence[Any]]) -> None:
        for batch in batches:
            self._batches.append(batch)
            self._batched += sum(map(len, batch))

    def send(self) -> None:
        """As much as the connection takes."""
        while self._batches and self._connection.send(self._batches[0]):
            self._batched -= sum(map(len, self._batches.popleft()))

    def look(self) -> int:
        """See how much waits, and whether the client reads. By how much that is more than at the last look."""
        before, self.bytes = self.bytes, self._batched + self._connection.unsent
        if self.bytes < before:
            self.since = time.monotonic()
        return self.bytes - before


class Outgoing:
    """All answers of one server: `max_size` bytes are the largest, `max_unsent` what may wait for all clients together. `cut(session, why)`
    has to cut a client off, `spoiled(session, message, error)` ends the one call whose message cannot be sent, `flush` is called when there
    is something to be sent."""

    def __init__(
        self,
        loop: Loop,
        max_size: int,
        max_unsent: int,
        *,
        cut: Callable[[Session, str], object],
        spoiled: Callable[[Session, FromServer, Exception], object],
        flush: Callable[[], object],
    ) -> None:
        self._loop = loop
        self._rest_at = int(REST_AT * max_size)
        self._refuse_at, self._cut_at = REFUSE_AT * max_size, CUT_AT * max_size
        self._refuse_all_at, self._most = int(REFUSE_PART * max_unsent), max_unsent
        self._cut = cut
        self._spoiled = spoiled
        self._flush = flush
        self._encoder = codec.Encoder()
        self._unsent: set[Session] = set()
        self._flushing = False
        self._look: Handle | None = None
        self._total = 0  # bytes of what is held
        self.held: dict[Session, Held] = {}

    def add(self, session: Session) -> None:
        """It has something in its outbox, that is sent when this turn of the transport ends."""
        self._unsent.add(session)

    def add_soon(self, session: Session) -> None:
        """The same, from outside such a turn."""
        self.add(session)
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush_soon)

    def forget(self, session: Session) -> None:
        self._unsent.discard(session)
        self._let_go(session)

    def _let_go(self, session: Session) -> None:
        """Nothing is held for it any more."""
        held = self.held.pop(session, None)
        if held is not None:
            self._total -= held.bytes
            _let_rest(session, rests=False)

    def close(self) -> None:
        if self._look is not None:
            self._look.cancel()

    def send(self) -> None:
        """Send what has gathered, a batch for each client."""
        unsent, self._unsent = self._unsent, set()
        for session in unsent:
            if session.outbox:
                try:
                    batches = self._encoded(session)
                except Exception as error:  # none of them alone, but all together: for want of memory, say
                    self._cut(session, f"its answers cannot be encoded: {errors.described(error)}")
                    continue
                held = self.held.get(session)
                if held is None:
                    self._send(session, batches)
                else:
                    held.add(batches)
                    self._count(session, held)

    def room(self, session: Session | None) -> None:
        """The client's connection takes more; None: that of some client may."""
        for each in list(self.held) if session is None else (session,):
            held = self.held.get(each)
            if held is not None:
                held.send()
                self._count(each, held)

    def full(self, session: Session) -> str:
        """The reason to refuse the client's calls, if it leaves too many answers unread; else an empty string."""
        held = self.held.get(session)
        if held is None or not self._refuses(held):
            return ""
        return f"{held.bytes:,} bytes of answers wait to be read by this client"

    def _refuses(self, held: Held) -> bool:
        if held.bytes > self._cut_at:
            return True
        much = held.bytes > self._refuse_at or self._total > self._refuse_all_at
        return much and held.since < time.monotonic() - NOT_READING

    def _encoded(self, session: Session) -> list[list[Any]]:
        """What the session has to be sent, without what cannot be."""
        outbox, session.outbox = session.outbox, []
        try:
            return self._encoder.encode(outbox)
        except codec.Unencodable as found:
            for message, error in found.spoiled:
                self._spoiled(session, message, error)
            said_instead, session.outbox = session.outbox, []
            outbox = found.sound + said_instead
            return self._encoder.encode(outbox) if outbox else []

    def _send(self, session: Session, batches: list[list[Any]]) -> None:
        connection = session.connection
        for number, batch in enumerate(batches):
            if not connection.send(batch):
                self._hold(session, batches[number:])
                return
        if connection.unsent:
            self._hold(session, ())

    def _hold(self, session: Session, batches: Iterable[Sequence[Any]]) -> None:
        held = self.held[session] = Held(session.connection)
        held.add(batches)
        self._count(session, held)
        if self._look is None:
            self._look = self._loop.call_later(LOOK, self._look_again)

    def _count(self, session: Session, held: Held) -> None:
        """How much waits for the client now? What is too much ends its connection, or another's."""
        self._total += held.look()
        if not held.bytes:
            self._let_go(session)
            return
        _let_rest(session, rests=held.bytes > self._rest_at)
        latest = time.monotonic() - NOT_READING
        if held.bytes > self._cut_at and held.since < latest:
            self._cut(session, f"it leaves {held.bytes:,} bytes of answers unread")
        if self._total > self._most:
            for other in self.held.values():
                self._total += other.look()
        while self._total > self._most:
            oldest = min(self.held, key=lambda each: self.held[each].since)
            if self.held[oldest].since >= latest and self._total <= HARD * self._most:
                return
            self._cut(
                oldest,
                f"it reads none of its answers, and {self._total:,} bytes of them wait for all clients",
            )

    def _look_again(self) -> None:
        self._look = None
        now = time.monotonic()
        for session, held in list(self.held.items()):
            if session in self.held:  # who has not been cut off on account of another
                self._count(session, held)
                if now - held.since > PATIENCE and session in self.held:
                    self._cut(session, f"it has not read its answers for {PATIENCE:g} s")
        if self.held:
            self._look = self._loop.call_later(LOOK, self._look_again)

    def _flush_soon(self) -> None:
        self._flushing = False
        self._flush()


def _let_rest(session: Session, *, rests: bool) -> None:
    """Have its streams rest, or go on."""
    if session.rests is not rests:
        session.rests = rests
        for call in () if rests else list(session.calls.values()):
            call.credit(0)
