"""Elements are counted without being decoded, and huge lengths and depths take no memory."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.msgpack import Ext
from ringback.errors import ProtocolError
from ringback.protocol import codec
from ringback.protocol.bounds import BATCH_BYTES, MAX_MESSAGES
from ringback.protocol.elements import more_than
from ringback.protocol.messages import Call, CallOptions, Cancel, Item, Notify
from ringback.protocol.values import pack

lengths = st.sampled_from([0, 1, 2, 4, 8, 16, 31, 32, 255, 256, 65_535, 65_536])
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 64) - 1)
    | st.integers(-200, 300)
    | st.floats(allow_nan=False)
    | lengths.map(lambda n: "x" * n)
    | lengths.map(bytes)
    | lengths.map(lambda n: Ext(5, bytes(n)))
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=20) | st.dictionaries(st.text(max_size=40), inner, max_size=20)
    ),
)


def elements(value: Any) -> int:
    if isinstance(value, list):
        return 1 + sum(map(elements, value))
    if isinstance(value, dict):
        return 1 + len(value) + sum(map(elements, value.values()))
    return 1


@settings(deadline=None, max_examples=100)
@given(values)
def test_every_value_key_list_and_map_is_one_element(value):
    data, count = msgspec.msgpack.encode(value), elements(value)
    assert not more_than(count, data)
    assert more_than(count - 1, data)


@pytest.mark.parametrize("item", [[], {}, "x" * 32, 1.5, 70_000, None], ids=repr)
@pytest.mark.parametrize("many", [1, 15, 16, 4095, 4096, 4097, 70_000])
def test_long_rows_of_one_kind_are_counted_to_the_last(item, many):
    data = msgspec.msgpack.encode([item] * many)
    assert not more_than(many + 1, data)
    assert more_than(many, data)


@settings(deadline=None, max_examples=500)
@given(st.binary(max_size=200))
def test_of_any_bytes_there_are_not_more_elements_than_bytes(data):
    assert not more_than(len(data), data)


# In a batch


def batch(*messages: Any) -> bytes:
    return bytes(codec.PREAMBLE + msgspec.msgpack.encode(messages))


def test_a_call_with_too_many_elements_is_not_decoded_and_known_by_its_id():
    reader = codec.from_client(max_elements=BATCH_BYTES)
    args = msgspec.Raw(msgspec.msgpack.encode([[[]] * 600_000]))
    for message in (
        Call(7, "add", args),
        Notify("add", args),
        Call(7, "add", args, {"a": args}, 5, 6),
    ):
        with pytest.raises(codec.TooMuch, match="more than 524,288 elements") as caught:
            reader.decode([batch(message)])
        of = caught.value.of
        assert (of.method, type(of)) == ("add", type(message))  # type: ignore[union-attr]
    assert of.id == 7  # type: ignore[union-attr]


def test_an_item_with_too_many_elements_is_not_decoded_and_known_by_its_id():
    item = Item(7, msgspec.Raw(msgspec.msgpack.encode([[]] * 600_000)))
    with pytest.raises(codec.TooMuch, match="an item has more than 524,288 elements") as caught:
        codec.from_client(max_elements=BATCH_BYTES).decode([batch(item)])
    assert (type(caught.value.of), caught.value.of.id) == (Item, 7)  # type: ignore[union-attr]


def test_metadata_counts_too():
    call = Call(
        7, "add", msgspec.Raw(b"\x90"), options=CallOptions(metadata={"a": [[]] * 1_000_000})
    )
    assert codec.from_client().decode([batch(call)])[0].method == "add"
    with pytest.raises(codec.TooMuch):
        codec.from_client(max_elements=1_000_000).decode([batch(call)])


def test_too_many_elements_in_anything_but_one_call_or_item_are_a_fault():
    data = batch(
        *[Call(n, "add", msgspec.Raw(b"\x91\xdc\xff\xff" + b"\x90" * 65_535)) for n in range(1, 20)]
    )
    with pytest.raises(ProtocolError, match="a batch with more than 1,000,000 elements") as caught:
        codec.from_client(max_elements=1_000_000).decode([data])
    assert not isinstance(caught.value, codec.TooMuch)


def test_what_an_encoder_sends_is_taken_whole_whatever_its_elements():
    reader = codec.from_client(max_elements=BATCH_BYTES)
    calls = [Call(n, "a", msgspec.Raw(b"\x93\x01\x02\x90")) for n in range(1, 150_000)]
    arrived = [
        m for frames in codec.Encoder().encode(calls) for m in reader.decode([bytes(frames[0])])
    ]
    assert [call.id for call in arrived] == [call.id for call in calls]


def test_a_batch_has_a_bound_of_messages_to_which_an_encoder_keeps():
    cancels = [Cancel(1) for _ in range(2 * MAX_MESSAGES + 1)]
    batches = codec.Encoder().encode(cancels)
    assert sum(len(codec.from_client().decode([bytes(first)])) for (first,) in batches) == len(
        cancels
    )
    assert len(batches) == 3
    with pytest.raises(ProtocolError, match="a batch of more than 65,536 messages"):
        codec.from_client().decode([batch(*cancels)])
    assert len(codec.from_client().decode([batch(*cancels[:MAX_MESSAGES])])) == MAX_MESSAGES


def test_an_encoder_keeps_to_what_its_reader_takes():
    cancels = [Cancel(n) for n in range(1, 102)]
    reader = codec.from_client(max_messages=10)
    batches = codec.Encoder().encode(cancels, 10)
    assert [m for (first,) in batches for m in reader.decode([bytes(first)])] == cancels
    with pytest.raises(ProtocolError, match="a batch of more than 10 messages"):
        reader.decode([batch(*cancels)])
    for many in (11, 16):  # whose length is said in the same byte, and beside it
        with pytest.raises(ProtocolError):
            reader.decode([batch(*cancels[:many])])


def test_bytes_for_which_the_reader_takes_no_frame_stay_in_their_value():
    large = bytes(range(256)) * 256
    reader = codec.from_client(max_frames=3)
    call = Call(1, "add", pack([large] * 5, 1 << 20))
    (frames,) = codec.Encoder().encode([call], max_frames=3)
    assert len(frames) == 3
    (arrived,) = reader.decode([bytes(frame) for frame in frames])
    assert reader.values.plain(arrived.args) == [large] * 5
    with pytest.raises(ProtocolError, match="a message of 6 frames"):
        reader.decode([bytes(frame) for frame in codec.Encoder().encode([call])[0]])
