"""Answers on their way out: sent in batches, and held, within bounds, for a client that does not read them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from .. import errors
from ..backends.base import Handle, Loop
from ..protocol import codec
from ..protocol.messages import Call, FromClient, FromServer, Refusal
from ..protocol.server import Session

# A client that has read nothing for so long (seconds), though there is something, is not coming back to it.
PATIENCE = 30.0
# Seconds from one look at who reads nothing to the next.
LOOK = 1.0
# Of the largest value that is sent, so many times may be held for one client: beyond the first its calls are refused, beyond
# the second it is cut off.
REFUSE_AT, CUT_AT = 1, 2


class Held:
    """The batches of one client that its connection does not take."""

    __slots__ = ("batches", "bytes", "since")

    def __init__(self, batches: list[list[Any]]) -> None:
        self.since = time.monotonic()  # when it was last seen to read
        self.batches: list[list[Any]] = []
        self.bytes = 0
        self.add(batches)

    def add(self, batches: list[list[Any]]) -> None:
        self.batches += batches
        self.bytes += sum(len(frame) for batch in batches for frame in batch)

    def sent(self) -> None:
        self.since = time.monotonic()
        self.bytes -= sum(map(len, self.batches.pop(0)))


class Outgoing:
    """All answers of one server. `cut(session, why)` has to cut a client off, `spoiled(session, message, error)` ends the one call whose
    message cannot be sent, `flush` is called when there is something to be sent."""

    def __init__(
        self,
        loop: Loop,
        max_size: int,
        *,
        cut: Callable[[Session, str], object],
        spoiled: Callable[[Session, FromServer, Exception], object],
        flush: Callable[[], object],
    ) -> None:
        self._loop = loop
        self._refuse_at, self._cut_at = REFUSE_AT * max_size, CUT_AT * max_size
        self._cut = cut
        self._spoiled = spoiled
        self._flush = flush
        self._encoder = codec.Encoder()
        self._unsent: set[Session] = set()
        self._flushing = False
        self._look: Handle | None = None
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
        self.held.pop(session, None)

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
        if self.held:
            self._send_held()

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

    def admitted(self, session: Session, messages: list[FromClient]) -> list[FromClient]:
        """What a client says, without its calls if it leaves too many answers unread: those are refused."""
        held = self.held.get(session)
        if held is None or held.bytes <= self._refuse_at:
            return messages
        code = errors.ResourceExhausted.code
        text = f"{held.bytes:,} bytes of answers wait to be read by this client"
        others: list[FromClient] = []
        for message in messages:
            if type(message) is Call:
                session.outbox.append(Refusal(message.id, code, text, started=False))
            else:
                others.append(message)
        return others

    def _send(self, session: Session, batches: list[list[Any]]) -> None:
        send = session.connection.send
        for number, batch in enumerate(batches):
            if not send(batch):
                self.held[session] = Held(batches[number:])
                self._look_later()
                return

    def _send_held(self) -> None:
        now = time.monotonic()
        for session, held in list(self.held.items()):
            send = session.connection.send
            while held.batches and send(held.batches[0]):
                held.sent()
            if not held.batches:
                self.held.pop(session, None)
            elif held.bytes > self._cut_at:
                self._cut(session, f"it leaves {held.bytes:,} bytes of answers unread")
            elif now - held.since > PATIENCE:
                self._cut(session, f"it has not read its answers for {PATIENCE:g} s")

    def _look_later(self) -> None:
        if self._look is None:
            self._look = self._loop.call_later(LOOK, self._look_again)

    def _look_again(self) -> None:
        self._look = None
        self._flush()
        if self.held:
            self._look_later()

    def _flush_soon(self) -> None:
        self._flushing = False
        self._flush()
