"""Answers that wait for a client: none is forgotten, and streams rest and go on as it reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from ringback.protocol.messages import Item, Pong
from ringback.protocol.server import IncomingCall, Session
from ringback.server.outgoing import Outgoing

SIZE = 1000


class Slow:
    """A connection whose socket takes as many messages as `takes` says."""

    def __init__(self) -> None:
        self.takes = 0
        self.unsent = 0
        self.taken: list[Sequence[Any]] = []

    def send(self, frames: Sequence[Any]) -> bool:
        if not self.takes:
            return False
        self.takes -= 1
        self.taken.append(frames)
        return True


class Streaming(IncomingCall):
    def __init__(self, session: Session) -> None:
        super().__init__(session, 1)
        self.told = 0

    def credit(self, items: int) -> None:
        assert items == 0
        assert not self.session.rests
        self.told += 1


class Timers:
    def call_later(self, seconds: float, function: Callable[..., object], *args: Any) -> None:
        """Nothing here takes that long."""


def outgoing() -> Outgoing:
    def unexpected(*_: object) -> None:
        raise AssertionError

    return Outgoing(
        Timers(),  # type: ignore[arg-type] # of which no more is asked
        SIZE,
        3 * SIZE,
        cut=unexpected,
        spoiled=unexpected,
        flush=unexpected,
    )


def test_what_is_said_when_the_last_that_waited_is_sent_is_not_forgotten() -> None:
    out = outgoing()
    connection = Slow()
    session = Session(connection, "peer")
    session.outbox.append(Pong(1))
    out.add(session)
    out.send()
    assert out.held
    session.outbox.append(Pong(2))
    out.add(session)  # in the same turn the socket has room again
    connection.takes = 2
    out.room(session)
    assert not out.held
    out.send()
    assert len(connection.taken) == 2
    assert not session.outbox


def test_streams_rest_while_much_waits_and_go_on_when_it_is_read() -> None:
    out = outgoing()
    connection = Slow()
    session = Session(connection, "peer")
    stream = Streaming(session)
    session.calls[1] = stream
    for rests in (False, True):
        session.outbox.append(Item(1, msgspec.Raw(b"\xc4\xc8" + bytes(200))))
        session.outbox.append(Item(1, msgspec.Raw(b"\xc4\x64" + bytes(100))))
        out.add(session)
        out.send()
        assert session.rests is rests
    assert stream.told == 0
    connection.takes = 1
    out.room(session)
    assert not session.rests
    assert stream.told == 1
    connection.takes = 1
    out.room(session)
    assert stream.told == 1
    assert not out.held
