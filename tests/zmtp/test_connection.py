"""One end of one connection: what comes is what was sent, whatever the pieces it comes in, and what
is wrong ends it with the reason.
"""

from __future__ import annotations

import resource
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ringback.zmtp import commands, frames, greeting
from ringback.zmtp.connection import LARGE, Bounds, Connection
from ringback.zmtp.errors import Refused, ZmtpError
from ringback.zmtp.mechanisms import RefusingMechanism
from zmtp_ends import in_pieces, joined, said, whole

GREETING = greeting.greeting(b"NULL", as_server=False)
READY = commands.frame(commands.READY, commands.properties({b"Socket-Type": b"DEALER"}))

messages = st.lists(
    st.lists(
        st.binary(max_size=300) | st.integers(0, 3 * LARGE).map(bytes), min_size=1, max_size=4
    ),
    max_size=6,
)
sizes = st.lists(st.integers(1, 10) | st.integers(500, 70_000), min_size=2, max_size=5).filter(
    lambda found: max(found) > 400
)


def router(**how: Any) -> Connection:
    """One that knows its peer."""
    made = Connection(b"ROUTER", **how)
    assert made.feed(GREETING + READY) == []
    assert made.open
    made.take_out()
    return made


def feed(connection: Connection, pieces: list[bytes]) -> None:
    for piece in pieces:
        connection.feed(piece)


def message(*parts: bytes) -> bytes:
    """As it is on the wire."""
    last = len(parts) - 1
    return b"".join(
        frames.head(frames.MORE if place < last else 0, len(part)) + part
        for place, part in enumerate(parts)
    )


# What is right


@settings(deadline=None)
@given(messages, sizes, sizes)
def test_whatever_the_pieces_the_messages_are_those_that_were_sent(
    sent: list[list[bytes]], before: list[int], after: list[int]
) -> None:
    dealer, router = Connection(b"DEALER", identity=b"me"), Connection(b"ROUTER")
    for piece in in_pieces(said(router), before):
        assert dealer.feed(piece) == []
    router_first = in_pieces(said(dealer), before)
    for piece in router_first:
        assert router.feed(piece) == []
    dealer.feed(said(router))
    router.feed(said(dealer))
    assert dealer.open
    assert router.open
    for each in sent:
        dealer.send(each)
    got = [found for piece in in_pieces(said(dealer), after) for found in router.feed(piece)]
    assert whole(got) == sent
    assert router.held == 0
    assert router.peer[b"socket-type"] == b"DEALER"
    assert router.peer[b"identity"] == b"me"


@given(st.binary(max_size=2000), sizes)
def test_bytes_by_chance_are_messages_or_an_error_and_the_same_in_any_pieces(
    data: bytes, cuts: list[int]
) -> None:
    def outcome(pieces: list[bytes]) -> tuple[list[list[bytes]], str, bytes]:
        connection, found = router(bounds=Bounds(message=500, frames=3, command=100)), []
        try:
            for piece in pieces:
                found += connection.feed(piece)
        except ZmtpError as error:
            return whole([*found, *error.before]), str(error), said(connection)
        return whole(found), "", said(connection)

    at_once, cut = outcome([data] if data else []), outcome(in_pieces(data, cuts))
    assert cut == at_once


def test_small_buffers_are_sent_as_one_and_large_ones_as_they_are() -> None:
    dealer, _ = joined()
    large = bytearray(LARGE)
    dealer.send([b"a"])
    dealer.send([b"b", large])
    dealer.send([b"c"])
    first, second, third = dealer.take_out()
    assert first == message(b"a") + b"\x01\x01b" + frames.head(0, LARGE)
    assert second is large
    assert third == message(b"c")
    assert dealer.take_out() == []


@pytest.mark.parametrize("size", [0, 1, 255, 256, LARGE - 1, LARGE, LARGE + 1, 1 << 20])
def test_frames_of_any_size(size: int) -> None:
    dealer, other = joined()
    dealer.send([bytes(size), memoryview(bytes(size))])
    assert whole(other.feed(said(dealer))) == [[bytes(size)] * 2]


def test_a_ping_is_answered_with_what_it_brings() -> None:
    connection = router()
    connection.feed(commands.frame(commands.PING, (125).to_bytes(2, "big") + b"token"))
    assert said(connection) == commands.frame(commands.PONG, b"token")
    assert connection.ttl == 12.5
    connection.feed(commands.frame(commands.PONG, b""))
    assert connection.pongs == 1
    assert connection.ping(20.0, b"x")
    assert said(connection) == commands.frame(commands.PING, b"\x00\xc8x")


def test_a_peer_of_zmtp_3_0_is_not_pinged() -> None:
    older = bytearray(GREETING)
    older[11] = 0
    connection = Connection(b"ROUTER")
    connection.feed(bytes(older) + READY)
    connection.take_out()
    assert connection.open
    assert not connection.ping()
    assert connection.take_out() == []


def test_commands_that_are_not_known_are_passed_over() -> None:
    connection = router()
    assert whole(connection.feed(commands.frame(b"SUBSCRIBE", b"all") + message(b"a"))) == [[b"a"]]


def test_names_of_properties_have_no_case() -> None:
    body = commands.properties({b"SOCKET-type": b"DEALER", b"X-Own": b"1"})
    connection = Connection(b"ROUTER")
    connection.feed(GREETING + commands.frame(commands.READY, body))
    assert connection.peer == {b"socket-type": b"DEALER", b"x-own": b"1"}


def test_a_large_frame_can_be_written_where_it_stands() -> None:
    connection = router()
    data = bytes(range(256)) * 4096
    assert connection.feed(frames.head(frames.MORE, len(data)) + data[:1000]) == []
    assert connection.large is not None
    while connection.large is not None:
        come = data[connection.large.filled :][:77_777]
        connection.large.space[: len(come)] = come
        connection.large.filled += len(come)
        assert connection.feed(b"") == []
    [[first, second]] = connection.feed(frames.head(0, 3) + b"end")
    assert (first, second) == (data, b"end")
    assert type(first) is bytes


# What is wrong


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (
            b"HTTP/1.1 400 Bad Request\r\nServer: x\r\n\r\n",
            "not a ZeroMQ peer: it sent 'HTTP/1.1 400 Bad Request'",
        ),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "not a ZeroMQ peer: it sent 'SSH-2.0-OpenSSH_9.2'"),
        (b"\x16\x03\x01\x02\x00", "not a ZeroMQ peer"),
        (b"\xff\0\0\0\0\0\0\0\x01\x7f\x01", "it speaks ZMTP 2 or older"),
        (greeting.greeting(b"CURVE", as_server=True), "it uses CURVE, this end uses NULL"),
        (
            GREETING
            + commands.frame(commands.READY, commands.properties({b"Socket-Type": b"PUB"})),
            "it is a PUB, which",
        ),
        (GREETING + commands.frame(commands.READY, b""), "it is a socket without a type"),
        (GREETING + commands.frame(commands.READY, b"\x05abc"), "properties that end too early"),
        (GREETING + commands.frame(b"HELLO", b""), "a command 'HELLO' in place of READY"),
        (GREETING + commands.frame(commands.ERROR, b"\x03why"), "it refuses the connection: why"),
        (
            GREETING + commands.frame(commands.ERROR, b""),
            "it refuses the connection: without a reason",
        ),
        (GREETING + message(b"too early"), "a message before the handshake"),
        (GREETING + frames.head(0, LARGE), "a message before the handshake"),
        (GREETING + b"\x04\x00", "a command without a name"),
        (GREETING + b"\x04\x02\x05a", "a command without a name"),
        (GREETING + frames.head(frames.COMMAND, 1 << 20), "a command of 1,048,576 bytes"),
    ],
)
@pytest.mark.parametrize("at_once", [True, False])
def test_who_is_no_peer_is_told_from_one_and_why(data: bytes, why: str, at_once: bool) -> None:
    connection = Connection(b"ROUTER")
    with pytest.raises(ZmtpError) as raised:
        feed(connection, [data] if at_once else in_pieces(data, [1]))
    # By its first byte alone, what another protocol says is not yet known.
    assert (why if at_once else why.partition(": it sent")[0]) in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"\x08\x00", "a frame with flags 0x08"),
        (b"\x05\x01a", "a frame with flags 0x05"),
        (frames.head(0, 1001), "a message of more than 1,000 bytes"),
        (frames.head(0, 1 << 62), "a message of more than 1,000 bytes"),
        (message(bytes(600), bytes(600)), "a message of more than 1,000 bytes"),
        (b"\x01\x00" * 5, "a message of more than 4 frames"),
        (commands.frame(commands.PING, b"\0"), "a PING of 1 bytes"),
        (commands.frame(commands.PING, bytes(19)), "a PING of 19 bytes"),
        (commands.frame(commands.ERROR, b"\x04over"), "it refuses the connection: over"),
    ],
)
def test_what_goes_beyond_a_bound_ends_the_connection(data: bytes, why: str) -> None:
    connection = router(bounds=Bounds(message=1000, frames=4))
    with pytest.raises(ZmtpError) as raised:
        connection.feed(data)
    assert why in str(raised.value)


def test_a_handshake_has_an_end() -> None:
    class Endless:
        name, as_server, sealer = b"NULL", False, None

        def start(self, properties: bytes) -> list[bytes]:
            return []

        def take(self, name: bytes, body: bytes) -> tuple[list[bytes], None]:
            return [], None

    connection = Connection(b"ROUTER", Endless(), bounds=Bounds(handshake=1000))  # type: ignore[arg-type]
    connection.feed(GREETING)
    with pytest.raises(ZmtpError, match="a handshake of more than"):
        feed(connection, [commands.frame(b"MORE", b"x")] * 1000)


def test_what_is_kept_is_what_has_come_and_not_what_a_head_claims() -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    connection = router(bounds=Bounds(message=1 << 30))
    connection.feed(frames.head(frames.MORE, 100) + bytes(100))
    connection.feed(frames.head(0, 1 << 29) + b"abc")
    assert connection.held < 200
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 10_000  # KiB


def test_a_refusal_reaches_the_peer() -> None:
    connection, other = (
        Connection(b"ROUTER", RefusingMechanism("too many connections")),
        Connection(b"DEALER"),
    )
    connection.feed(said(other))
    with pytest.raises(Refused, match="it refuses the connection: too many connections"):
        other.feed(said(connection))
    with pytest.raises(ZmtpError, match=r"^too many connections$"):
        connection.feed(said(other))
    assert not connection.open
