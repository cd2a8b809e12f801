"""Sends replies in batches, and holds them, within bounds, for clients that do not read."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ... import errors
from ...backends.base import Handle, Loop
from ...protocol import codec
from ...protocol.messages import FromServer, Item, Mapped, Reached, Reply
from ...protocol.server import Session
from ...transport.base import AcceptedConnection
from ...transport.memory import Holes

# Seconds after which a client that does not read its replies is cut off.
PATIENCE = 30.0
# Seconds between two checks for clients that do not read.
LOOK = 1.0
# Thresholds for the bytes held for one client, as multiples of max_size. Above REST_AT its streams
# rest. Above REFUSE_AT its calls are refused if it does not read. Above CUT_AT they are refused in
# any case, and the client is cut off if it does not read. (The default bound for all clients
# together, max_unsent, is twice max_size.)
REST_AT, REFUSE_AT, CUT_AT = 0.5, 1, 1.5
# Share of max_unsent above which streams rest, and the calls of clients that do not read are
# refused.
REFUSE_PART = 0.5

# Seconds after which a client counts as one that does not read.
NOT_READING = 0.1

# Bytes that the server sends to a client without held replies, whatever it holds for others. If the
# socket does not take them, the client is cut off.
SMALL = 65_536


class Held:
    """The replies held for one client: batches here, and unsent bytes in its connection.

    `bytes`: total of both. `since`: time at which the client last read.
    """

    __slots__ = ("_batched", "_batches", "_connection", "bytes", "since")

    def __init__(self, connection: AcceptedConnection) -> None:
        self._connection = connection
        self._batches: deque[Sequence[Any]] = deque()
        self._batched = 0  # bytes in them
        self.since = time.monotonic()
        self.bytes = 0

    def add(self, batches: Iterable[Sequence[Any]]) -> None:
        for batch in batches:
            size = sum(map(len, batch))
            self._batches.append(batch)
            self._batched += size
            self.bytes += size

    def send(self) -> None:
        """Send as many batches as the connection takes."""
        while self._batches and self._connection.send(self._batches[0]):
            self._batched -= sum(map(len, self._batches.popleft()))

    def look(self) -> None:
        """Update `bytes`. A smaller value than before means that the client reads."""
        before, self.bytes = self.bytes, self._batched + self._connection.unsent
        if self.bytes < before:
            self.since = time.monotonic()


class Outgoing:
    """The outgoing replies of one server.

    `max_size`: bytes of the largest reply. `max_unsent`: bytes held for all clients together; a
    reply beyond it is dropped, and its call ends as ResourceExhausted. `cut(session, why)` cuts a
    client off. `spoiled(session, message, error)` ends the one call whose message cannot be sent.
    `flush` is called when there is something to send.
    """

    def __init__(
        self,
        loop: Loop,
        max_size: int,
        max_unsent: int,
        *,
        cut: Callable[[Session, str], object],
        spoiled: Callable[[Session, FromServer, errors.CallError], object],
        flush: Callable[[], object],
    ) -> None:
        self._loop = loop
        self._rest_at = int(REST_AT * max_size)
        self._refuse_at, self._cut_at = REFUSE_AT * max_size, int(CUT_AT * max_size)
        self._refuse_all_at, self._most = int(REFUSE_PART * max_unsent), max_unsent
        self._cut = cut
        self._spoiled = spoiled
        self._flush = flush
        self._encoder = codec.Encoder()
        self._unsent: set[Session] = set()
        self._flushing = False
        self._look: Handle | None = None
        self._looked = 0.0  # time of the last attempt to make room
        self._total = 0  # bytes held for all clients
        self._holes = Holes()
        self.held: dict[Session, Held] = {}

    def add(self, session: Session) -> None:
        """Send the session's outbox when this turn of the transport ends."""
        self._unsent.add(session)

    def add_soon(self, session: Session) -> None:
        """Send the session's outbox soon; for callers outside such a turn."""
        self.add(session)
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush_soon)

    def forget(self, session: Session) -> None:
        self._unsent.discard(session)
        self._let_go(session)

    def _let_go(self, session: Session) -> None:
        """Drop the held replies of a session."""
        held = self.held.pop(session, None)
        if held is not None:
            self._total -= held.bytes
            self._holes.passed(held.bytes)
            _let_rest(session, rests=False)

    def close(self) -> None:
        if self._look is not None:
            self._look.cancel()

    def send(self) -> None:
        """Send all outboxes, one batch per client."""
        unsent, self._unsent = self._unsent, set()
        for session in unsent:
            messages, session.outbox = session.outbox, []
            if messages:
                try:
                    self._send(session, messages)
                except Exception as error:  # not one message's fault: out of memory, for example
                    self._cut(session, f"its replies cannot be encoded: {errors.described(error)}")

    def room(self, session: Session | None) -> None:
        """The client's connection takes more bytes; with None, that of any client may."""
        for each in list(self.held) if session is None else (session,):
            held = self.held.get(each)
            if held is not None:
                held.send()
                self._count(each, held)

    def full(self, session: Session) -> str:
        """Why to refuse the client's calls, if it leaves too many replies unread; else ""."""
        held = self.held.get(session)
        if held is None or not self._refuses(held):
            return ""
        return f"this client has {held.bytes:,} bytes of replies to read first"

    def _refuses(self, held: Held) -> bool:
        if held.bytes > self._cut_at:
            return True
        much = held.bytes > self._refuse_at or self._total > self._refuse_all_at
        return much and held.since < time.monotonic() - NOT_READING

    def _send(self, session: Session, messages: list[FromServer]) -> None:
        try:
            batches = self._encoder.encode(messages)
        except codec.Unencodable:
            self._send_singly(session, messages)
            return
        # A single batch is no larger than the largest reply, which always fits.
        if (self._total or len(batches) > 1) and not self._fits(session, _size(batches)):
            self._send_singly(session, messages)
        else:
            self._send_batches(session, batches)

    def _send_singly(self, session: Session, messages: list[FromServer]) -> None:
        """Send each message alone. One that cannot be encoded, or does not fit, ends its call."""
        ended = set()
        for message in messages:
            number = getattr(message, "id", None)
            if number is not None and number in ended:
                continue
            failure: errors.CallError | None = None
            try:
                batches = self._encoder.encode([message])
            except codec.Unencodable as found:
                ((_, error),) = found.spoiled
                failure = errors.ProtocolError(
                    f"the reply cannot be encoded: {errors.described(error)}"
                )
                failure.__cause__ = error
            else:
                if type(message) in (Reply, Item, Mapped) and not self._fits(
                    session, _size(batches)
                ):
                    text = (
                        f"clients leave {self._total:,} bytes of replies unread: this reply was "
                        f"dropped"
                    )
                    failure = errors.ResourceExhausted(text)
            if failure is not None:
                if type(message) is not Reached:
                    ended.add(number)
                self._spoiled(session, message, failure)
                said, session.outbox = session.outbox, []
                batches = self._encoder.encode(said) if said else []
            self._send_batches(session, batches)

    def _fits(self, session: Session, size: int) -> bool:
        """Whether the server may hold `size` more bytes for the client.

        To make room, it cuts off clients that do not read, perhaps this one too. A connection that
        was cut off discards its messages.
        """
        if self._total + size <= self._most or (size <= SMALL and session not in self.held):
            return True
        now = time.monotonic()
        latest = now - NOT_READING
        if self._looked < now - NOT_READING / 2:  # a check of all clients takes a while
            self._looked = now
            for held in self.held.values():
                self._measure(held)
            silent = [each for each, held in self.held.items() if held.since < latest]
            for each in sorted(silent, key=lambda each: self.held[each].since):
                if self._total + size <= self._most:
                    break
                why = f"it reads no replies, and all clients leave {self._total:,} bytes unread"
                self._cut(each, why)
        return self._total + size <= self._most

    def _send_batches(self, session: Session, batches: Sequence[Sequence[Any]]) -> None:
        held = self.held.get(session)
        if held is not None:
            self._keep(session, held, batches)
            return
        connection = session.connection
        for number, batch in enumerate(batches):
            if not connection.send(batch):
                self._hold(session, batches[number:])
                return
        if connection.unsent:
            self._hold(session, ())

    def _hold(self, session: Session, batches: Iterable[Sequence[Any]]) -> None:
        held = self.held[session] = Held(session.connection)
        self._keep(session, held, batches)
        if self._total > self._most and not self._fits(session, 0) and session in self.held:
            self._cut(
                session,
                f"it leaves replies unread, and all clients leave {self._total:,} bytes unread",
            )
        if self._look is None:
            self._look = self._loop.call_later(LOOK, self._look_again)

    def _keep(self, session: Session, held: Held, batches: Iterable[Sequence[Any]]) -> None:
        before = held.bytes
        held.add(batches)
        self._total += held.bytes - before
        self._count(session, held)

    def _count(self, session: Session, held: Held) -> None:
        """Update the held bytes. If they are too many, rest the client's streams or cut it off."""
        if self.held.get(session) is not held:
            return  # sending showed that the connection is lost
        self._measure(held)
        if not held.bytes:
            self._let_go(session)
            return
        much = held.bytes > self._rest_at or (
            held.bytes > SMALL and self._total > self._refuse_all_at
        )
        _let_rest(session, rests=much)
        if held.bytes > self._cut_at and held.since < time.monotonic() - NOT_READING:
            self._cut(session, f"it leaves {held.bytes:,} bytes of replies unread")

    def _measure(self, held: Held) -> None:
        before = held.bytes
        held.look()
        self._total += held.bytes - before
        if held.bytes < before:
            self._holes.passed(before - held.bytes)

    def _look_again(self) -> None:
        self._look = None
        now = time.monotonic()
        for session, held in list(self.held.items()):
            if session in self.held:  # not cut off meanwhile to make room
                self._count(session, held)
                if now - held.since > PATIENCE and session in self.held:
                    self._cut(session, f"it has not read its replies for {PATIENCE:g} s")
        self._holes.look()
        if self.held or self._holes.left:
            self._look = self._loop.call_later(LOOK, self._look_again)

    def _flush_soon(self) -> None:
        self._flushing = False
        self._flush()


def _size(batches: Iterable[Sequence[Any]]) -> int:
    """Bytes of all batches."""
    return sum(sum(map(len, batch)) for batch in batches)


def _let_rest(session: Session, *, rests: bool) -> None:
    """Pause the session's streams, or let them go on."""
    if session.rests is not rests:
        session.rests = rests
        for call in () if rests else list(session.calls.values()):
            call.credit(0)
