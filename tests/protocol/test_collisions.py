"""Untyped maps that could be made slow are refused before they are decoded, and no others."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Any

import collisions
import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec import Raw
from msgspec.msgpack import encode
from ringback.errors import InvalidArgument, ProtocolError
from ringback.protocol import codec
from ringback.protocol.collisions import Chosen, check_keys, keys_chosen
from ringback.protocol.messages import Call, CallOptions, Notify
from ringback.protocol.values import Unpacker
from ringback.server.calls.invocations.inputs import SyncInput
from ringback.server.declare.arguments import Arguments, read_metadata

MANY = 256


def packed(pairs: list[tuple[bytes, bytes]]) -> bytes:
    return b"\xdf" + len(pairs).to_bytes(4, "big") + b"".join(key + value for key, value in pairs)


def large(key: Any = (1, 2), many: int = MANY) -> dict[Any, Any]:
    return {**{f"key {number}": number for number in range(many - 1)}, key: None}


# Against a walk that takes its time


def walked(data: bytes, at: int = 0) -> tuple[bool, int]:
    """Whether a large map with such a key is in the value there, and where that ends."""
    first = data[at]
    width = {0xDC: 2, 0xDD: 4, 0xDE: 2, 0xDF: 4}.get(first)
    if width is None and not 0x80 <= first < 0xA0:
        try:
            msgspec.msgpack.decode(data[at:], type=Raw)
            return False, len(data)
        except msgspec.DecodeError as error:
            return False, at + int(str(error).split("(byte ")[1][:-1])
    if width is None:
        many, is_map, at = first & 15, first < 0x90, at + 1
    else:
        many, is_map = int.from_bytes(data[at + 1 : at + 1 + width], "big"), first >= 0xDE
        at += 1 + width
    found = False
    for number in range(many << is_map):
        head, before = data[at], at
        inside, at = walked(data, at)
        key = is_map and many > 255 and number % 2 == 0
        array = 0x90 <= head < 0xA0 or head in (0xDC, 0xDD)
        whole = (
            head in (0xC7, 0xD4, 0xD5, 0xD6, 0xD7, 0xD8) and data[before + 1 + (head == 0xC7)] == 2
        )
        found = found or inside or (key and (array or whole))
    return found, at


scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 64) - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=40)
    | st.sampled_from([0, 31, 32, 79, 80, 255, 256, 65_536]).map(lambda n: "x" * n)
    | st.binary(max_size=40)
    | st.just(datetime(2026, 1, 1, tzinfo=UTC))
)
keys = (
    scalars.map(encode)
    | st.lists(scalars, max_size=20).map(encode)
    | st.integers(1 << 64, 1 << 90).map(collisions.whole)
)


def maps(inner: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """Of a few entries, or as many more as make it 254 to 400."""
    some = st.lists(st.tuples(keys, inner), max_size=4)
    more = st.sampled_from([0, 252, 253, 254, 255, 255, 256, 400])
    return st.tuples(some, more, st.booleans()).map(
        lambda t: (
            packed(t[0] + [(encode(n * 7), b"\xc0") for n in range(t[1])])
            if t[2]
            else packed([(encode(f"k{n}"), b"\x90") for n in range(t[1])] + t[0])
        )
    )


def lists(inner: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    some = st.lists(inner, max_size=4)
    return some.map(lambda s: b"\xdc" + len(s).to_bytes(2, "big") + b"".join(s))


data = st.recursive(
    scalars.map(encode) | keys | maps(scalars.map(encode)),
    lambda inner: lists(inner) | maps(inner),
    max_leaves=6,
)


@settings(deadline=None, max_examples=60)
@given(data)
@example(encode([large()] * 2))
@example(b"\xdc\0\1\xde\1\0" + b"\1\xc0" * 255 + b"\x90\xc0")  # the least that there is
@example(encode({"a": [1, {"b": large()}]}))
def test_the_look_agrees_with_a_walk_over_every_value(value):
    assert refused(value) is walked(value)[0]


def refused(value: bytes) -> bool:
    try:
        check_keys(value)
    except msgspec.ValidationError:
        return True
    return False


@settings(deadline=None, max_examples=60)
@given(
    st.binary(max_size=300) | data.flatmap(lambda d: st.integers(0, len(d)).map(lambda n: d[:n]))
)
def test_a_look_at_any_bytes_ends_and_says_nothing_else(value):
    refused(value)


@pytest.mark.parametrize(
    "key", [1, 1.5, "a" * 300, b"a", None, True, datetime(2026, 1, 1, tzinfo=UTC)], ids=repr
)
def test_what_has_a_secret_or_cannot_collide_stays_a_key(key):
    check_keys(encode(large(key, 1000)))


def test_a_frame_stays_a_key():
    unpacker = Unpacker(wary=True)
    unpacker.frames = [b"frame"]
    keys = [(encode(n), encode("x" * 20)) for n in range(MANY)]
    assert unpacker.plain(Raw(packed([*keys, (b"\xd4\x01\x00", b"\xc0")])))[b"frame"] is None


def test_hundreds_of_large_maps_in_one_another_are_refused():
    value: Any = "x"
    for _ in range(300):
        value = [{**dict.fromkeys(range(MANY)), 0: value}]
    with pytest.raises(msgspec.ValidationError, match="nested too deeply"):
        check_keys(encode(value))


@pytest.mark.parametrize(
    "inside", [[0.1] * 10, [0.1] * 500, [{"a": 1.5, "b": "text"}] * 30], ids=len
)
def test_lists_of_any_depth_are_no_reason_to_refuse_and_take_time_in_proportion(inside):
    value: Any = dict.fromkeys(range(MANY))
    for _ in range(90):
        value = [value, *inside]
    data = encode(value)
    begun = time.process_time()
    check_keys(data)
    assert time.process_time() - begun < 0.1 + len(data) / 1e6


@pytest.mark.parametrize("around", [[], {}])
def test_what_is_deep_and_small_is_refused_for_no_other_reason(around):
    def deep(value: bytes) -> Raw:
        for _ in range(400):
            value = encode([Raw(value), []] if around == [] else {"a": Raw(value)})
        return Raw(value)

    check_keys(bytes(deep(encode(dict.fromkeys(range(1000))))))
    with pytest.raises(msgspec.ValidationError, match="an array as a key"):
        check_keys(bytes(deep(encode(large()))))


# Where the server decodes what was sent


@dataclass
class Point:
    x: int = 0
    more: dict[str, Any] = field(default_factory=dict)


class Plain(msgspec.Struct):
    x: int = 0
    following: Plain | None = None


EQUAL = {
    "arrays": collisions.as_map(map(encode, collisions.tuples(300))),
    "integers": collisions.as_map(map(collisions.whole, collisions.integers(300))),
}


def bound(kind: Any, value: bytes) -> Any:
    """What a function gets for its one argument."""

    def method(value): ...

    method.__annotations__["value"] = kind
    arguments = Arguments("f", method)
    return arguments.bind(Unpacker(wary=True), Raw(b"\x91" + value), None)[0][0]


@pytest.mark.parametrize("equal", EQUAL.values(), ids=EQUAL)
@pytest.mark.parametrize(
    "kind", [Any, object, dict, list[Any] | dict[str, Any], int, dict[int, int], Plain], ids=str
)
def test_keys_that_may_be_equal_in_their_hash_are_not_decoded(equal, kind):
    # (what a type does not fit is read again, as plain data, for extensions that may be in it)
    assert (
        len({hash(key) for key in collisions.tuples(300)})
        == len({hash(key) for key in collisions.integers(300)})
        == 1
    )
    with pytest.raises(
        InvalidArgument, match="f: argument 'value': a map of more than 255 entries has an"
    ):
        bound(kind, equal)


def test_they_are_found_within_other_values():
    for kind, value in (
        (Point, b"\x82\xa1x\x01\xa4more\x81\xa1a" + EQUAL["arrays"]),
        (list[int], b"\x92\xd4\x02\x01" + EQUAL["arrays"]),
        (memoryview, EQUAL["integers"]),
    ):
        with pytest.raises(InvalidArgument, match="a map of more than 255 entries"):
            bound(kind, value)
    assert bound(Plain, b"\x81\xa7unknown" + EQUAL["arrays"]) == Plain()  # nobody decodes it


def test_the_error_says_what_to_do():
    text = (
        "f: argument 'value': a map of more than 255 entries has an array as a key: annotate the "
        "argument"
    )
    with pytest.raises(InvalidArgument) as caught:
        bound(Any, EQUAL["arrays"])
    assert str(caught.value) == text


def test_small_maps_have_any_keys():
    few = {(number, "x" * 20): None for number in range(255)}
    assert bound(Any, encode([few] * 3)) == [few] * 3


def test_whoever_asks_for_arrays_as_keys_gets_them():
    many = {(number, 1): b"x" for number in range(1000)}
    assert bound(dict[tuple[int, int], bytes], encode(many)) == many
    assert bound(dict[tuple[int, int], Any], encode(many)) == many
    assert Unpacker(wary=True).plain(Raw(encode(many)), Chosen.BY_AUTHOR) == many
    unpacker = Unpacker(wary=True)
    unpacker.frames = [b"frame"]
    value = packed([(encode(key), b"\xd4\x01\x00") for key in many])
    assert unpacker.typed(Raw(value), dict[tuple[int, int], bytes]) == dict.fromkeys(many, b"frame")


@pytest.mark.parametrize(
    ("kind", "chosen"),
    [
        (int, Chosen.FIXED),
        (dict[str, list[int]], Chosen.FIXED),
        (Plain, Chosen.FIXED),
        (Any, Chosen.BY_SENDER),
        (dict, Chosen.BY_SENDER),
        (Point, Chosen.BY_SENDER),
        (list[object], Chosen.BY_SENDER),
        (dict[tuple[int, ...], Any], Chosen.BY_AUTHOR),
        (list[dict[frozenset[int], int]], Chosen.BY_AUTHOR),
    ],
    ids=str,
)
def test_an_annotation_says_who_chooses_the_keys(kind, chosen):
    assert keys_chosen(kind) is chosen


def test_items_of_a_stream_are_looked_at():
    def method(items: Iterator[Any]) -> None: ...

    unpacker = Unpacker(wary=True)
    assert Arguments("f", method, SyncInput).streams == {"items": Any}
    with pytest.raises(msgspec.ValidationError, match="an array as a key"):
        unpacker.typed(Raw(EQUAL["arrays"]), Any)


@pytest.mark.parametrize("equal", EQUAL.values(), ids=EQUAL)
def test_metadata_spoil_their_own_call_and_no_other(equal):
    calls = [
        Call(1, "add", Raw(b"\x92\x01\x02"), None, 5, 0, CallOptions({"a": large("x")})),
        Call(2, "add", Raw(b"\x92\x01\x02"), None, 5, 0, CallOptions({"a": Raw(equal)})),
        Notify("add", Raw(b"\x92\x01\x02"), None, CallOptions({"a": Raw(equal)})),
        Call(3, "add", Raw(b"\x92\x01\x02")),
    ]
    first, spoilt, note, last = codec.from_client().decode([codec.PREAMBLE + encode(calls)])
    assert [message.args for message in (first, spoilt, note, last)] == [Raw(b"\x92\x01\x02")] * 4
    read_metadata("add", first.options)
    assert first.options.metadata == {"a": large("x")}
    for each in (spoilt, note):
        with pytest.raises(
            InvalidArgument,
            match="add: the metadata cannot be read: a map of more than 255 entries",
        ):
            read_metadata("add", each.options)


@pytest.mark.parametrize("entries", [(1 << 24) + 5000, 5000, 300, 1 << 31], ids=hex)
def test_a_map_of_metadata_that_is_cut_off_is_not_decoded_as_far_as_it_goes(entries):
    keys = b"".join(encode(key) + b"\xc0" for key in collisions.tuples(20_000))
    batch = (
        b"\x91\x98\x03\x01\xa1x\x90\xc0\xc0\x00\x81\xa8metadata\x81\xa1m\xdf"
        + entries.to_bytes(4, "big")
        + keys
    )
    begun = time.process_time()
    with pytest.raises(ProtocolError):
        codec.from_client().decode([codec.PREAMBLE + batch])
    assert time.process_time() - begun < 1  # of three, if they were put into a dict


def test_an_annotation_without_a_hash_is_one_as_any_other():
    def method(value: Annotated[int, {"doc": "a number"}], other: Any) -> None:
        """Takes two."""

    arguments = Arguments("method", method)
    assert arguments.bind(Unpacker(wary=True), Raw(encode([1, 2])), None) == ((1, 2), {})
    assert arguments.bind(Unpacker(wary=True), Raw(encode([1])), {"other": Raw(encode(2))}) == (
        (1, 2),
        {},
    )
