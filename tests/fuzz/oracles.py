"""What must hold whatever bytes come: the rules of the codec, of both machines and of the wire, for
one input each.

Used by the tests here, by the corpus, and by the coverage-guided fuzzers (`fuzz_*.py`). An input is
bytes that any fuzzer may change: it is
read as a list of batches (`batches_of`), and whatever it holds, it can be read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
from curve_oracle import check_curve
from exchange import LIMIT, Asked, Sending, Served, call
from ringback import errors
from ringback.balancing import RoundRobin
from ringback.clients.conversation.links import LinkState
from ringback.clients.conversation.machine import ClientMachine
from ringback.protocol import codec
from ringback.protocol.messages import Call, End, Error, Reply, Welcome
from ringback.protocol.server import ServerMachine, SessionState
from ringback.protocol.values import Unpacker, pack
from ringback.zmtp import commands
from ringback.zmtp.connection import Bounds, Connection
from ringback.zmtp.errors import ZmtpError
from zmtp_ends import in_pieces, said, whole

# What packing raises for values of the types that Python and msgspec have, and unpacking for bytes
# that are none.
UNPACKABLE = (TypeError, ValueError, OverflowError, RecursionError, BufferError)
UNREADABLE = (msgspec.MsgspecError, TypeError, ValueError, OverflowError, RecursionError)

Batch = list[bytes]

CORPUS = Path(__file__).parent / "corpus"
VECTORS = Path(__file__).parent.parent / "vectors"


@dataclass
class Point:
    x: int
    y: float = 0.0


# What handlers and callers may ask for.
KINDS: list[Any] = [
    int,
    str,
    bytes,
    memoryview,
    datetime,
    list[int],
    dict[str, Any],
    dict[int, bytes],
    Point,
    Any,
]


# Inputs


def packed(batches: Sequence[Sequence[bytes]]) -> bytes:
    """Batches as one input: a byte, 1 where a frame of the same batch follows, and two or four of
    the length, before each frame.
    """
    data = b""
    for frames in batches:
        for number, frame in enumerate(frames):
            more = number < len(frames) - 1
            long = len(frame) > 0xFFFF
            data += bytes([more | long << 1]) + len(frame).to_bytes(4 if long else 2, "big") + frame
    return data


def batches_of(data: bytes) -> list[Batch]:
    """Any bytes as batches; lengths that lie mean all that is left."""
    batches: list[Batch] = []
    frames: Batch = []
    place = 0
    while place < len(data):
        flags = data[place]
        width = 4 if flags & 2 else 2
        length = int.from_bytes(data[place + 1 : place + 1 + width], "big")
        place += 1 + width
        frames.append(data[place : place + length])
        place += length
        if not flags & 1:
            batches.append(frames)
            frames = []
    if frames:
        batches.append(frames)
    return batches


def vectors(end: str) -> list[Batch]:
    """The batches of the specification's vectors, right ones and wrong ones, that this end may send
    ("client" or "server").
    """
    batches = []
    for name in ("valid", "lenient", "invalid"):
        for vector in json.loads((VECTORS / f"{name}.json").read_text(encoding="utf-8")):
            if vector["from"] == end:
                batches.append([_unhex(frame) for frame in vector["frames"]])
    return batches


def _unhex(text: str) -> bytes:
    data = b""
    for part in text.split(" + "):
        byte, _, count = part.partition(" * ")
        data += bytes.fromhex(byte) * int(count or 1)
    return data


# The rules


def check_codec(data: bytes) -> None:
    """Decoding raises ProtocolError alone, and what a value raises is among what spoils one call."""
    for decoder in (codec.from_client(), codec.from_server()):
        for frames in batches_of(data):
            try:
                messages = decoder.decode(frames)
            except errors.ProtocolError:
                continue
            for raw in _values(messages):
                _check_value(raw, decoder.values)


def _values(messages: Sequence[Any]) -> Iterator[msgspec.Raw]:
    for message in messages:
        for field in ("args", "result", "value"):
            if hasattr(message, field):
                yield getattr(message, field)
        yield from (getattr(message, "kwargs", None) or {}).values()


def _check_value(raw: msgspec.Raw, values: Unpacker) -> None:
    for kind in KINDS:
        try:
            value = values.typed(raw, kind)
        except UNREADABLE:
            continue
        try:
            pack(value, LIMIT)
        except (*UNPACKABLE, errors.ResourceExhausted):
            pass


def check_server(data: bytes) -> None:
    """A server's machine, of two clients: no call ends twice, none is lost count of, none runs
    whose client is gone.
    """
    machine = ServerMachine("service", b"s" * 16, {}, max_size=LIMIT, max_in_flight=5)
    decoder = codec.from_client()
    sessions = [machine.connected(b"a", "peer"), machine.connected(b"b", "peer")]
    running: list[Served] = []
    ids: list[set[int]] = [set(), set()]
    answered: list[set[int]] = [set(), set()]
    for number, frames in enumerate(batches_of(data)):
        which = (
            number % 2 if frames[0][:1] == b"!" else 0
        )  # a sign of the fuzzer's: said by the other client
        session = sessions[which]
        if session.state is SessionState.CLOSED:
            assert not session.calls
            continue
        try:
            messages = decoder.decode([frames[0].removeprefix(b"!"), *frames[1:]])
        except errors.ProtocolError as error:
            machine.fault(session, error.message)
            messages = []
        accepted = machine.receive(session, messages)
        for message in accepted:
            if isinstance(message, Call):
                assert message.id not in ids[which], "an id was accepted twice"
                ids[which].add(message.id)
                if not machine.in_flight.admit(session.quota):
                    one = Served(session, message.id)
                    one.takes = message.id % 3
                    running.append(one)
        for one in running[::2]:
            running.remove(one)
            machine.in_flight.release(one.session.quota)
            one.session.reply(one, Reply(one.id, msgspec.Raw(b"\xc0")))
        for each, seen in zip(sessions, answered, strict=True):
            ends = [m.id for m in each.outbox if isinstance(m, (Reply, Error, End))]
            assert len(ends) == len(set(ends))
            assert not seen & set(ends), "a call was answered twice"
            seen |= set(ends)
            assert codec.Encoder().encode(each.outbox)
            each.outbox.clear()
            assert all(not one.ended and one.cancelled == 0 for one in each.calls.values())
        assert machine.in_flight.calls == len(running)
        assert all(one.cancelled <= 1 for one in running)
    machine.drain()
    machine.leave()
    for session in sessions:
        machine.lost(session)
        assert session.calls == {}
    assert machine.left()
    assert all(one.ended and one.cancelled == 1 for one in running)


GRANTED = 3


def check_client(data: bytes) -> None:
    """A client's machine, of two links: each call ends once, with an error of ours or a result of
    its type, and nothing is left of it.
    """
    machine = ClientMachine(["tcp://host:0", "tcp://host:1"], b"c" * 16, LIMIT, policy=RoundRobin())
    decoder = codec.from_server()
    for link in machine.links:
        machine.link_up(link)
        machine.receive(link, [Welcome(b"s" * 16, "service", LIMIT, 100, {})], decoder.values, 0.0)
    asked: list[Asked] = []

    def begin(now: float) -> None:
        for made in (
            call(timeout=5.0, now=now),
            call(returns=int, now=now),
            call(timeout=5.0, credit=GRANTED, returns=int, now=now),
            call(wait=False, now=now),
        ):
            asked.append(made)
            if len(asked) % 4 == 0:
                made.extended().upload = Sending()
            machine.start_all([made], now)

    begin(0.0)
    for number, frames in enumerate(batches_of(data)):
        now = number / 10
        link = machine.links[number % 2 if frames[0][:1] == b"!" else 0]
        if link.state is LinkState.CLOSED:
            continue
        try:
            messages = decoder.decode([frames[0].removeprefix(b"!"), *frames[1:]])
        except errors.ProtocolError as error:
            machine.fault(link, error.message)
        else:
            machine.receive(link, messages, decoder.values, now)
        if number % 5 == 4:
            machine.link_lost(link, "lost", now)
            machine.link_up(link)
        if len(asked) < 40:
            begin(now)
        for each in machine.links:
            assert codec.Encoder().encode(each.outbox)
            assert len(each.outbox) < 5000, "the server decides how much the client keeps for it"
            each.outbox.clear()
        machine.tick(now)
        _check_calls(machine, asked)
    machine.tick(1000.0)
    machine.close(errors.Cancelled("closed"))
    _check_calls(machine, asked)
    assert (machine.calls, machine.table.waiting, machine.table.bytes) == ({}, {}, 0)
    assert all(len(each.outcomes) == 1 for each in asked)


def _check_calls(machine: ClientMachine, asked: Sequence[Asked]) -> None:
    for each in asked:
        assert len(each.outcomes) == each.ended <= 1
        for result, error in each.outcomes:
            assert error is None or isinstance(error, errors.CallError)
            if error is None and each.settings.returns is int and not each.message.credit:
                assert type(result) is int, "a result that is not of the type that was asked for"
        assert len(each.items) <= GRANTED, "more items than there was credit for"
        assert all(type(item) is int for item in each.items)
    assert len(machine.calls) == sum(not each.ended for each in asked)
    assert all(not each.ended for each in machine.table.retries.attempts)


def check_zmtp(data: bytes) -> None:
    """Bytes from the wire are messages or an error, and the same ones however they are cut; nothing
    is kept but what has come.
    """
    cuts, data = [1 + size for size in data[:4]], data[4:]
    if data[:1] == b"+":  # what follows is behind a handshake
        data = _HANDSHAKE + data[1:]
    at_once, cut = _fed([data]), _fed(in_pieces(data, cuts or [1]))
    assert at_once == cut


# A bound that an input of the fuzzer's can go beyond.
_BOUNDS = Bounds(message=100_000, frames=20, command=1000, handshake=2000)


def _fed(pieces: Sequence[bytes]) -> tuple[list[list[bytes]], str]:
    """The messages that come of the pieces, and why there are no more."""
    connection = Connection(b"ROUTER", bounds=_BOUNDS)
    messages: list[list[bytes]] = []
    came = 0
    for piece in pieces:
        came += len(piece)
        try:
            messages += whole(connection.feed(piece))
        except ZmtpError as error:
            messages += whole(error.before)
            # (by its first byte alone, what another protocol says is not yet known)
            return messages, str(error).partition(": it said")[0]
        assert connection.held <= came
        assert len(connection.take_out()) <= came + 2  # the greeting and READY
    return messages, ""


_HANDSHAKE = said(Connection(b"DEALER")) + commands.frame(
    commands.READY, commands.properties({b"Socket-Type": b"DEALER"})
)

ORACLES = {
    "codec": check_codec,
    "server": check_server,
    "client": check_client,
    "zmtp": check_zmtp,
    "curve": check_curve,
}
