"""Answers that wait for a client: none is forgotten, and streams rest and go on as it reads."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from ringback import errors
from ringback.protocol import codec
from ringback.protocol.messages import End, Error, Fault, Item, Pong, Reply
from ringback.protocol.server import IncomingCall, Session, SessionState
from ringback.server.connections.outgoing import NOT_READING, SMALL, Outgoing

SIZE = 1000
LARGE = 2 * SMALL  # bytes that are not sent however much waits


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
        self.session, self.id, self.ended = session, 1, False
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


class Ends(Outgoing):
    """With a record of who was cut off and of what was not sent."""

    def __init__(self) -> None:
        self.cut_off: list[str] = []
        self.failed: list[tuple[str, int, str]] = []
        super().__init__(
            Timers(),  # type: ignore[arg-type]
            LARGE,
            3 * LARGE,
            cut=self._end,
            spoiled=self._fail,
            flush=lambda: None,
        )

    def _end(self, session: Session, why: str) -> None:
        self.cut_off.append(session.peer)
        session.state = SessionState.CLOSED
        self.forget(session)

    def _fail(self, session: Session, message: Any, failure: errors.CallError) -> None:
        self.failed.append((session.peer, message.id, failure.code))
        session.outbox.append(Error(message.id, *errors.to_wire(failure)))

    def say(self, session: Session, *messages: Any) -> None:
        session.outbox.extend(messages)
        self.add(session)
        self.send()

    @property
    def bytes(self) -> int:
        return sum(held.bytes for held in self.held.values())


def reply(number: int, size: int = LARGE - 100) -> Reply:
    return Reply(number, msgspec.Raw(msgspec.msgpack.encode(bytes(size))))


def test_an_answer_beyond_the_bound_of_all_is_not_kept_and_ends_its_call_alone() -> None:
    out = Ends()
    for number in range(1, 8):
        connection = Slow()
        out.say(Session(connection, f"peer {number}"), Pong(1))  # which waits
        connection.takes = number > 3  # what is small
        out.say(Session(connection, f"peer {number}"), reply(1))
    assert out.failed == [(f"peer {number}", 1, "RESOURCE_EXHAUSTED") for number in range(4, 8)]
    assert out.bytes < 3 * LARGE
    assert not out.cut_off


def test_small_answers_are_bounded_too_and_who_takes_none_is_cut_off() -> None:
    out = Ends()
    for number in range(100):
        out.say(Session(Slow(), f"peer {number}"), reply(1, 60_000))
    assert out.bytes <= 3 * LARGE
    assert len(out.cut_off) == 100 - 3 * LARGE // 60_010
    assert not out.failed


def test_a_connection_that_is_lost_while_it_sends_is_counted_once() -> None:
    out = Ends()
    connection = Slow()
    session = Session(connection, "peer")
    out.say(session, reply(1, 500))

    def lose(frames: Sequence[Any]) -> bool:
        out.forget(session)
        return True

    connection.send = lose  # type: ignore[method-assign]
    out.room(session)
    assert out._total == 0


def test_clients_that_do_not_read_are_cut_off_to_make_room_the_longest_silent_first() -> None:
    out = Ends()
    silent = [Session(Slow(), f"peer {number}") for number in range(3)]
    for session in silent:
        out.say(session, reply(1))
    for number, session in enumerate(silent):
        out.held[session].since -= 10 * NOT_READING + (number == 1)
    newcomer = Session(Slow(), "newcomer")
    out.say(newcomer, reply(1))
    assert out.cut_off == ["peer 1"]
    assert not out.failed
    assert newcomer in out.held


def test_answers_of_one_turn_that_do_not_fit_end_one_by_one_and_nothing_else_is_lost() -> None:
    out = Ends()
    session = Session(Slow(), "peer")
    big = 900_000  # beyond what one batch may have
    out._most = 3 * big
    out.say(session, *(reply(number, big) for number in range(1, 6)), Pong(9))
    assert out.failed == [("peer", number, "RESOURCE_EXHAUSTED") for number in (3, 4, 5)]
    connection = session.connection
    connection.takes = 100
    out.room(session)
    said = [message for frames in connection.taken for message in decoded(frames)]
    assert [(type(message), getattr(message, "id", 9)) for message in said] == [
        (Reply, 1),
        (Reply, 2),
        (Error, 3),
        (Error, 4),
        (Error, 5),
        (Pong, 9),
    ]


def test_a_stream_has_no_gap_where_an_item_does_not_fit() -> None:
    out = Ends()
    session = Session(Slow(), "peer")
    out._most = 1_500_000
    item = msgspec.Raw(msgspec.msgpack.encode(bytes(600_000)))
    small = msgspec.Raw(b"\x01")
    out.say(session, Item(1, item), Item(1, item), Item(1, item), Item(1, small), End(1))
    session.connection.takes = 100
    out.room(session)
    said = [message for frames in session.connection.taken for message in decoded(frames)]
    assert [type(message) for message in said] == [Item, Item, Error]


def test_a_client_that_reads_while_more_is_added_counts_as_one_that_reads() -> None:
    out = Ends()
    connection = Slow()
    session = Session(connection, "peer")
    out.say(session, reply(1, 500))
    held = out.held[session]
    held.since -= 10
    connection.takes = 1
    held.send()
    out.say(session, reply(2, 500))
    assert held.since > time.monotonic() - 5


def decoded(frames: Sequence[Any]) -> list[Any]:
    return codec.from_server().decode([bytes(frames[0]), *frames[1:]])


def test_a_fault_is_told_while_answers_wait_for_others() -> None:
    out = Ends()
    out.say(Session(Slow(), "slow"), reply(1))
    connection = Slow()
    connection.takes = 1
    faulty = Session(connection, "faulty")
    faulty.state = SessionState.CLOSED
    out.say(faulty, Fault("not this protocol"))
    assert [decoded(frames) for frames in connection.taken] == [[Fault("not this protocol")]]
