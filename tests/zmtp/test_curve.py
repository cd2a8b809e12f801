"""CURVE between two ends: who is admitted, and what becomes of frames that were changed, repeated
or never sealed.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from zmtp_ends import in_pieces, said

curve = pytest.importorskip("ringback.zmtp.curve")

from ringback.zmtp import commands, frames, greeting  # noqa: E402
from ringback.zmtp.connection import LARGE, Connection  # noqa: E402
from ringback.zmtp.errors import NotAuthorized, OtherMechanism, Refused, ZmtpError  # noqa: E402
from ringback.zmtp.mechanisms import UNAUTHORIZED, RefusingMechanism  # noqa: E402

SERVER, CLIENT, OTHER = curve.keypair(), curve.keypair(), curve.keypair()

messages = st.lists(
    st.lists(
        st.binary(max_size=300) | st.integers(0, 2 * LARGE).map(bytes), min_size=1, max_size=3
    ),
    max_size=5,
)


def ends(admitted: Any = None, server_key: bytes = SERVER[0]) -> tuple[Connection, Connection]:
    """A client and a server that have said nothing.

    `admitted`: the keys that the server lets in, None: every key.
    """
    client = Connection(b"DEALER", curve.CurveClient(server_key, *CLIENT))
    server = Connection(
        b"ROUTER", curve.CurveServer(*SERVER, lambda key: admitted is None or key in admitted)
    )
    return client, server


def passed(sender: Connection, receiver: Connection) -> list[list[Any]]:
    """The messages that the receiver gets of all that the sender has to send."""
    data = said(sender)
    return receiver.feed(data) if data else []


def shake(client: Connection, server: Connection) -> None:
    for _ in range(3):
        passed(client, server)
        passed(server, client)


@pytest.fixture
def opened() -> tuple[Connection, Connection]:
    client, server = ends()
    shake(client, server)
    assert client.open
    assert server.open
    return client, server


def test_each_end_learns_of_the_other_and_the_server_of_the_key() -> None:
    asked: list[bytes] = []
    client = Connection(b"DEALER", curve.CurveClient(SERVER[0], *CLIENT), identity=b"me")
    server = Connection(
        b"ROUTER", curve.CurveServer(*SERVER, lambda key: asked.append(key) or True)
    )
    shake(client, server)
    assert client.peer[b"socket-type"] == b"ROUTER"
    assert server.peer == {b"socket-type": b"DEALER", b"identity": b"me"}
    assert asked == [CLIENT[0]]


@given(messages, messages, st.lists(st.integers(1, 3000), min_size=1, max_size=4))
@settings(max_examples=40)
def test_messages_come_as_they_were_sent_in_any_pieces(
    there: list[list[bytes]], back: list[list[bytes]], sizes: list[int]
) -> None:
    client, server = ends()
    shake(client, server)
    for sender, receiver, sent in ((client, server, there), (server, client, back)):
        for message in sent:
            sender.send(message)
        data = said(sender)
        assert all(part not in data for message in sent for part in message if len(part) > 20)
        got: list[list[Any]] = []
        for piece in in_pieces(data, sizes):
            got += receiver.feed(piece)
        assert [[bytes(part) for part in message] for message in got] == sent


def test_pings_and_messages_are_sealed_in_the_order_of_the_wire(
    opened: tuple[Connection, Connection],
) -> None:
    client, server = opened
    client.ping(3.0)  # waits in `out`
    early = client.pinged(4.0)  # is sent at once
    assert server.feed(bytes(early)) == []
    assert server.ttl == 4.0
    client.send([b"after"])
    assert passed(client, server) == [[b"after"]]
    assert server.ttl == 3.0
    assert passed(server, client) == []
    assert client.pongs == 2


def test_who_is_not_authorized_is_told_so() -> None:
    client, server = ends(admitted=())
    passed(client, server)
    passed(server, client)
    passed(client, server)
    passed(server, client)
    with pytest.raises(NotAuthorized) as caught:
        passed(client, server)
    assert caught.value.key == CLIENT[0]
    with pytest.raises(Refused) as told:
        passed(server, client)
    assert told.value.reason == UNAUTHORIZED
    assert not server.open
    assert not client.open


def test_a_client_with_another_server_key_learns_nothing() -> None:
    client, server = ends(server_key=OTHER[0])
    passed(client, server)
    passed(server, client)
    with pytest.raises(ZmtpError, match="another server key"):
        passed(client, server)
    assert server.out == []


def test_a_server_with_another_secret_key_is_not_believed() -> None:
    client, _ = ends()
    liar = Connection(b"ROUTER", curve.CurveServer(SERVER[0], OTHER[1], lambda _: True))
    passed(client, liar)
    passed(liar, client)
    with pytest.raises(ZmtpError):
        passed(client, liar)


def test_a_cautious_client_hears_of_another_mechanism_before_it_says_its_own() -> None:
    client = Connection(b"DEALER", cautious=True)
    _, server = ends()
    passed(client, server)
    with pytest.raises(OtherMechanism) as caught:
        passed(server, client)
    assert caught.value.theirs == "CURVE"
    assert not client.out


def test_a_cautious_client_is_understood_where_the_mechanism_is_its_own() -> None:
    client, server = Connection(b"DEALER", cautious=True), Connection(b"ROUTER")
    shake(client, server)
    assert client.open
    assert server.open


def test_a_refusal_greets_with_the_mechanism_that_the_client_expects() -> None:
    client, _ = ends()
    full = Connection(b"ROUTER", RefusingMechanism("no place", b"CURVE"))
    passed(client, full)
    with pytest.raises(Refused, match="no place"):
        passed(full, client)


def sealed(sender: Connection, message: list[bytes]) -> bytearray:
    return bytearray(b"".join(sender.framed(message)))


@pytest.mark.parametrize("place", [3, 12, 20, 40, -1])
def test_a_frame_that_was_changed_ends_the_connection(
    place: int, opened: tuple[Connection, Connection]
) -> None:
    client, server = opened
    data = sealed(client, [b"x" * 50])
    data[place] ^= 1
    with pytest.raises(ZmtpError, match=r"decrypted|encrypted|before"):
        server.feed(bytes(data))


def test_a_frame_that_is_sent_again_ends_the_connection(
    opened: tuple[Connection, Connection],
) -> None:
    client, server = opened
    data = bytes(sealed(client, [b"once"]))
    assert server.feed(data) == [[b"once"]]
    with pytest.raises(ZmtpError, match="sent before"):
        server.feed(data)


def test_a_frame_of_the_server_sent_back_to_it_ends_the_connection(
    opened: tuple[Connection, Connection],
) -> None:
    _, server = opened
    data = bytes(sealed(server, [b"mine"]) + sealed(server, [b"mine"]) + sealed(server, [b"mine"]))
    with pytest.raises(ZmtpError, match=r"decrypted|before"):
        server.feed(data)


@pytest.mark.parametrize(
    "plain",
    [
        frames.head(0, 5) + b"plain",
        frames.head(frames.MORE, 5) + b"plain",
        commands.frame(commands.PING, commands.ping(1.0)),
        commands.frame(commands.ERROR, b"\x01x"),
        frames.head(0, 16) + b"\x07MESSAGE" + bytes(8),
    ],
)
def test_nothing_is_taken_that_is_not_sealed(
    plain: bytes, opened: tuple[Connection, Connection]
) -> None:
    for end in opened:
        with pytest.raises(ZmtpError, match="not encrypted"):
            end.feed(plain)


GREETING = greeting.greeting(b"CURVE", as_server=False)


@given(
    st.binary(max_size=300), st.sampled_from([b"HELLO", b"INITIATE", b"READY", b"WELCOME", b"x"])
)
def test_what_is_no_handshake_ends_it_with_a_reason(body: bytes, name: bytes) -> None:
    _, server = ends()
    with pytest.raises(ZmtpError):
        server.feed(GREETING + commands.frame(name, body))


@given(st.data())
@settings(max_examples=60)
def test_a_handshake_with_a_byte_changed_admits_nobody(data: st.DataObject) -> None:
    client, server = ends()
    step = data.draw(st.integers(0, 1))
    for _ in range(step + 1):
        passed(client, server)
        passed(server, client)
    sent = bytearray(said(client))
    # (the padding of a HELLO, and the sizes, say nothing that is secret or believed)
    at = data.draw(st.integers(84 if step == 0 else 12, len(sent) - 1))
    sent[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(ZmtpError):
        server.feed(bytes(sent))
    assert not server.open
