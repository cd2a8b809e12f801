"""Batches: messages to frames and back, for any messages and any bytes."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ringback.errors import MethodNotFound as NotFound
from ringback.errors import ProtocolError, RemoteError, to_wire
from ringback.protocol import codec
from ringback.protocol.bounds import BATCH_BYTES, FRAME_BYTES
from ringback.protocol.messages import (
    Bye,
    Call,
    Cancel,
    Credit,
    Error,
    Notify,
    Ping,
    Refusal,
    Reply,
)
from ringback.protocol.values import NOTHING, pack

LIMIT = 16 * 1024 * 1024

quick = settings(deadline=None, max_examples=150)

ids = st.integers(1, (1 << 64) - 1)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)
results = st.sampled_from(
    [
        None,
        1,
        "text",
        [1, {"a": b"b"}],
        1 << 70,
        bytes(FRAME_BYTES),
        ["é", b"x" * (FRAME_BYTES + 1)],
    ]
)
from_server = st.lists(
    st.builds(lambda id_, value: Reply(id_, pack(value, LIMIT)), ids, results)
    | st.builds(Error, ids, texts, texts, texts)
    | st.builds(Refusal, ids, texts, texts, st.none() | st.booleans())
    | st.builds(Credit, ids, st.integers(0, 1000)),
    max_size=12,
)


def frames(batches: list[list[Any]]) -> list[list[bytes]]:
    return [[bytes(frame) for frame in batch] for batch in batches]


def read(messages: list[Any]) -> list[Any]:
    """What arrives of the messages, with their results as plain data."""
    reader = codec.from_server()
    arrived = []
    for batch in frames(codec.Encoder().encode(messages)):
        for message in reader.decode(batch):
            if isinstance(message, Reply):
                message.result = reader.values.plain(message.result)
            arrived.append(message)
    return arrived


@quick
@given(st.lists(st.tuples(ids, results), max_size=12))
def test_results_come_out_of_a_batch_as_they_went_in(replies):
    arrived = read([Reply(id_, pack(result, LIMIT)) for id_, result in replies])
    assert [(message.id, message.result) for message in arrived] == replies


@quick
@given(from_server)
def test_messages_arrive_in_order_and_none_is_lost(messages):
    assert [(type(m), m.id) for m in read(messages)] == [(type(m), m.id) for m in messages]


@quick
@given(st.lists(st.integers(0, 300 * 1024), min_size=1, max_size=12))
def test_splitting_a_batch_keeps_the_order_of_its_messages(lengths):
    batches = frames(
        codec.Encoder().encode(
            [Reply(n, pack("x" * length, LIMIT)) for n, length in enumerate(lengths)]
        )
    )
    decoded = [codec.from_server().decode(batch) for batch in batches]
    assert [message.id for batch in decoded for message in batch] == list(range(len(lengths)))


@quick
@given(st.lists(st.sampled_from([10, 70_000, 300_000, 600_000]), min_size=1, max_size=12))
def test_a_batch_over_the_bound_holds_one_message(lengths):
    for batch in frames(
        codec.Encoder().encode([Reply(1, pack(bytes(length), LIMIT)) for length in lengths])
    ):
        if sum(map(len, batch)) > BATCH_BYTES:
            assert len(codec.from_server().decode(batch)) == 1


def test_what_fits_into_one_batch_is_not_split():
    assert len(codec.Encoder().encode([Reply(n, pack("x" * 1000, LIMIT)) for n in range(400)])) == 1


def test_each_batch_numbers_its_frames_from_zero():
    large = [bytes([n]) * 300_000 for n in range(3)]
    reader = codec.from_server()
    batches = frames(
        codec.Encoder().encode([Reply(n, pack(data, LIMIT)) for n, data in enumerate(large)])
    )
    arrived = [
        reader.values.plain(message.result) for batch in batches for message in reader.decode(batch)
    ]
    assert (len(batches), arrived) == (3, large)


def test_an_encoder_forgets_the_frames_of_the_last_batch():
    encoder = codec.Encoder()
    encoder.encode([Reply(1, pack(bytes(FRAME_BYTES), LIMIT))])
    assert len(encoder.encode([Reply(2, pack(None, LIMIT))])[0]) == 1


def test_a_decoder_forgets_the_frames_of_the_last_batch():
    reader = codec.from_server()
    (batch,) = frames(codec.Encoder().encode([Reply(1, pack(bytes(FRAME_BYTES), LIMIT))]))
    (reply,) = reader.decode(batch)
    reader.decode([codec.PREAMBLE + b"\x90"])
    with pytest.raises(msgspec.DecodeError):
        reader.values.plain(reply.result)


@settings(deadline=None, max_examples=400)
@given(st.lists(st.binary(max_size=80), min_size=1, max_size=3))
def test_arbitrary_frames_are_an_error_of_the_protocol(parts):
    with pytest.raises(ProtocolError):
        codec.from_client().decode(parts)


@settings(deadline=None, max_examples=400)
@given(st.binary(max_size=80))
def test_arbitrary_bytes_after_the_preamble_raise_nothing_but_protocol_errors(data):
    try:
        codec.from_client().decode([codec.PREAMBLE + data])
    except ProtocolError:
        pass


GOOD = bytes(
    codec.Encoder().encode(
        [
            Call(
                1,
                "method",
                pack([1, "é", {"a": [b"b"]}], LIMIT),
                {"key": pack(1.5, LIMIT)},
                1000,
                3,
            ),
            Notify("note", NOTHING),
            Cancel(1),
            Ping(2),
            Bye(),
        ]
    )[0][0]
)


@settings(deadline=None, max_examples=400)
@given(
    st.lists(st.tuples(st.integers(4, len(GOOD) - 1), st.integers(0, 255)), min_size=1, max_size=4),
    st.integers(4, len(GOOD)),
)
def test_a_damaged_batch_raises_nothing_but_protocol_errors(changes, length):
    damaged = bytearray(GOOD)
    for position, byte in changes:
        damaged[position] = byte
    try:
        codec.from_client().decode([bytes(damaged[:length])])
    except ProtocolError:
        pass


@given(st.integers(4, len(GOOD) - 1))
def test_a_batch_cut_short_is_an_error_of_the_protocol(length):
    with pytest.raises(ProtocolError):
        codec.from_client().decode([GOOD[:length]])


@pytest.mark.parametrize(
    "nested",
    [b"\x91" * 100_000 + b"\x90", b"\x81\xa1a" * 100_000 + b"\xc0"],
    ids=["arrays", "maps"],
)
def test_nesting_without_end_is_an_error_of_the_protocol(nested):
    with pytest.raises(ProtocolError):
        codec.from_client().decode([codec.PREAMBLE + b"\x91\x94\x03\x01\xa1a" + nested])


def test_the_error_for_another_version_names_both():
    with pytest.raises(ProtocolError, match=r"version 9 .* version 1"):
        codec.from_client().decode([b"RBK\x09\x90"])


def test_the_error_for_another_protocol_says_so():
    with pytest.raises(ProtocolError, match="not ringback's protocol"):
        codec.from_client().decode([b"GET / HTTP/1.1"])


@pytest.mark.parametrize(
    "error",
    [FileNotFoundError("no file '\udcff'"), NotFound("\udcff"), RemoteError("\udcff", "\udcff")],
    ids=["from-the-system", "of-ours", "from-afar"],
)
def test_an_error_whose_text_is_no_unicode_does_not_spoil_the_batch(error):
    other = Reply(2, pack("fine", LIMIT))
    assert [message.id for message in read([Error(1, *to_wire(error)), other])] == [1, 2]


def test_messages_that_cannot_be_encoded_are_told_from_the_others():
    sound = [Reply(number, number) for number in range(3)]
    spoiled = [Reply(3, object()), Error(4, "\ud800", "", "")]
    with pytest.raises(codec.Unencodable) as caught:
        codec.Encoder().encode([sound[0], spoiled[0], *sound[1:], spoiled[1]])
    assert caught.value.sound == sound
    assert [message for message, _ in caught.value.spoiled] == spoiled


def test_of_many_batches_one_message_that_cannot_be_encoded_costs_no_other():
    all_of_them = [Reply(number, number) for number in range(10)]
    all_of_them[3] = Reply(3, object())
    with pytest.raises(codec.Unencodable) as caught:
        codec.Encoder().encode(all_of_them, max_messages=2)
    assert [message.id for message in caught.value.sound] == [0, 1, 2, *range(4, 10)]
