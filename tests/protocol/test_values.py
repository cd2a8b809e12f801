"""Values on their way through a batch."""

from __future__ import annotations

import array
import copy
import dataclasses
import datetime as dt
import decimal
import enum
import uuid
from typing import Any, NamedTuple

import msgspec
import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ringback.errors import ResourceExhausted
from ringback.protocol import codec
from ringback.protocol.bounds import FRAME_BYTES
from ringback.protocol.messages import Reply
from ringback.protocol.values import (
    Unpacker,
    pack,
    pack_any,
    pack_args,
)

LIMIT = 16 * 1024 * 1024

quick = settings(deadline=None, max_examples=150)

# What packing raises for values of the types that Python and msgspec have, and unpacking for bytes
# that are none.
UNPACKABLE = (TypeError, ValueError, OverflowError, RecursionError, BufferError)
UNREADABLE = (msgspec.MsgspecError, TypeError, ValueError, OverflowError, RecursionError)


def sent(packed: Any) -> tuple[list[bytes], Any, Unpacker]:
    """The frames of a batch with that value; the value and its reader as they arrive."""
    (batch,) = codec.Encoder().encode([Reply(1, packed)])
    frames = [bytes(frame) for frame in batch]
    reader = codec.from_server()
    (reply,) = reader.decode(frames)
    return frames, reply.result, reader.values


def travelled(value: Any, kind: Any = Any) -> Any:
    _, arrived, values = sent(pack(value, LIMIT))
    return values.typed(arrived, kind)


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
sizes = st.sampled_from([0, 1, 255, 256, FRAME_BYTES - 1, FRAME_BYTES, FRAME_BYTES + 1])
blobs = st.binary(max_size=40) | st.builds(
    lambda size, byte: bytes([byte]) * size, sizes, st.integers(0, 255)
)
integers = st.integers() | st.builds(
    lambda power, shift, sign: sign * ((1 << power) + shift),
    st.sampled_from([7, 8, 15, 16, 31, 32, 53, 63, 64, 65, 100, 127, 128, 1000]),
    st.integers(-1, 1),
    st.sampled_from([-1, 1]),
)
times = st.datetimes(timezones=st.just(dt.UTC))
scalars = st.none() | st.booleans() | integers | st.floats(allow_nan=False) | texts | blobs | times
keys = texts | st.integers(-(1 << 63), (1 << 64) - 1) | st.binary(max_size=5)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=12,
)


@quick
@given(values)
def test_plain_data_arrives_as_it_was(value):
    assert travelled(value) == value


@quick
@given(st.lists(values, max_size=4))
def test_arguments_arrive_as_they_were(args):
    _, arrived, reader = sent(pack_args(tuple(args), LIMIT))
    assert reader.plain(arrived) == args


@quick
@given(st.lists(values, max_size=3))
def test_a_tuple_arrives_as_a_list(items):
    assert travelled(tuple(items)) == items


@given(integers)
def test_an_integer_keeps_its_type_and_value_whatever_its_size(number):
    arrived = travelled(number, int)
    assert (type(arrived), arrived) == (int, number)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
@pytest.mark.parametrize("size", [FRAME_BYTES - 1, FRAME_BYTES, FRAME_BYTES + 1])
def test_bytes_of_64_kib_and_more_take_a_frame_of_their_own(kind, size):
    data = bytes(size)
    frames, arrived, reader = sent(pack(kind(data), LIMIT))
    assert len(frames) == (2 if size >= FRAME_BYTES else 1)
    assert reader.plain(arrived) == data


def test_large_bytes_travel_uncopied():
    data = bytes(FRAME_BYTES)
    (batch,) = codec.Encoder().encode([Reply(1, pack(data, LIMIT))])
    assert batch[1] is data


def buffers(size: int) -> dict[str, Any]:
    numbers = numpy.arange(size // 4, dtype="int32")
    return {
        "array": array.array("i", numbers.tolist()),
        "NumPy": numbers,
        "NumPy in two dimensions": numbers.reshape(4, -1),
        "NumPy, read-only": _read_only(numbers),
        "NumPy with gaps": numpy.repeat(numbers, 2)[::2],
        "NumPy records": numbers.view([("low", "int16"), ("high", "int16")]),
        "a view of integers": memoryview(numbers),
    }


def _read_only(numbers: Any) -> Any:
    numbers = numbers.copy()
    numbers.flags.writeable = False
    return numbers


@pytest.mark.parametrize("size", [400, 4 * FRAME_BYTES])
@pytest.mark.parametrize("kind", buffers(0))
def test_whatever_is_a_buffer_arrives_as_its_bytes(kind, size):
    value = buffers(size)[kind]
    wanted = numpy.arange(size // 4, dtype="int32").tobytes()
    for packed in (pack(value, LIMIT), pack_any(value, LIMIT)):
        frames, arrived, reader = sent(packed)
        assert len(frames) == (2 if size >= FRAME_BYTES else 1)
        assert reader.plain(arrived) == wanted
    assert travelled({"inside": [value]}) == {"inside": [wanted]}


def test_a_scalar_of_numpy_is_no_buffer():
    with pytest.raises(TypeError, match="int64 is unsupported"):
        pack(numpy.int64(1), LIMIT)


@pytest.mark.parametrize(
    "kind", [bytearray, lambda data: numpy.frombuffer(bytearray(data), "uint8")]
)
def test_later_changes_to_a_large_buffer_do_not_travel(kind):
    value = kind(bytes(FRAME_BYTES))
    packed = pack(value, LIMIT)
    value[0] = 1
    _, arrived, reader = sent(packed)
    assert reader.plain(arrived) == bytes(FRAME_BYTES)


def test_a_read_only_view_travels_uncopied():
    data = numpy.zeros(FRAME_BYTES)
    (batch,) = codec.Encoder().encode([Reply(1, pack(memoryview(data).toreadonly(), LIMIT))])
    assert numpy.shares_memory(numpy.frombuffer(batch[1]), data)


def test_a_large_value_asked_for_as_a_memoryview_is_the_memory_it_arrived_in():
    data = bytearray(FRAME_BYTES)
    reader = Unpacker()
    reader.frames = [data]
    view = reader.typed(msgspec.Raw(bytes.fromhex("d5010000")), memoryview)
    assert (view.obj is data, view.readonly) == (True, True)
    assert reader.plain(msgspec.Raw(bytes.fromhex("d5010000"))) == data


def test_each_large_value_in_a_container_has_its_own_frame():
    value = {"a": bytes(FRAME_BYTES), "b": [b"x" * FRAME_BYTES, b"small"]}
    frames, arrived, reader = sent(pack(value, LIMIT))
    assert len(frames) == 3
    assert reader.plain(arrived) == value


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 7


@dataclasses.dataclass
class Point:
    x: int
    y: int = 0


class Box(msgspec.Struct):
    x: int
    data: bytes = b""


class Row(msgspec.Struct, array_like=True):
    x: int
    y: int = 0


class Pair(NamedTuple):
    x: int
    y: int


MOMENT = dt.datetime(2024, 1, 2, 3, 4, 5, 678900, dt.UTC)
BIG = 1 << 70

# What is sent, as what type it is asked for, how it arrives where no type is asked for.
# docs/protocol.md has it as a table.
TYPES: list[tuple[Any, Any, Any]] = [
    (None, None, None),
    (True, bool, True),
    (1.5, float, 1.5),
    (float("inf"), float, float("inf")),
    ("é", str, "é"),
    (bytearray(b"a"), bytearray, b"a"),
    ((1, 2), tuple[int, int], [1, 2]),
    ({1}, set[int], [1]),
    (frozenset({1}), frozenset[int], [1]),
    ({1: "a"}, dict[int, str], {1: "a"}),
    ({(1, 2): 3}, dict[tuple[int, int], int], {(1, 2): 3}),
    (MOMENT, dt.datetime, MOMENT),
    (dt.datetime(2024, 1, 2), dt.datetime, "2024-01-02T00:00:00"),
    (dt.date(2024, 1, 2), dt.date, "2024-01-02"),
    (dt.time(1, 2, 3), dt.time, "01:02:03"),
    (dt.timedelta(seconds=1.5), dt.timedelta, "PT1.5S"),
    (uuid.UUID(int=1), uuid.UUID, "00000000-0000-0000-0000-000000000001"),
    (decimal.Decimal("1.50"), decimal.Decimal, "1.50"),
    (Colour.RED, Colour, "red"),
    (Level.HIGH, Level, 7),
    (Point(1), Point, {"x": 1, "y": 0}),
    (Box(1, b"a"), Box, {"x": 1, "data": b"a"}),
    (Row(1), Row, [1, 0]),
    (Pair(1, 2), Pair, [1, 2]),
    (Point(BIG), Point, {"x": BIG, "y": 0}),
    (Box(BIG, bytes(FRAME_BYTES)), Box, {"x": BIG, "data": bytes(FRAME_BYTES)}),
    (Row(BIG), Row, [BIG, 0]),
    (Pair(1, BIG), Pair, [1, BIG]),
    ({BIG}, set[int], [BIG]),
    ({uuid.UUID(int=1): BIG}, dict[uuid.UUID, int], {"00000000-0000-0000-0000-000000000001": BIG}),
    ((MOMENT, BIG), tuple[dt.datetime, int], [MOMENT, BIG]),
]
by_type = pytest.mark.parametrize(
    ("value", "kind", "plain"),
    TYPES,
    ids=[f"{type(value).__name__}-{n}" for n, (value, *_) in enumerate(TYPES)],
)


@by_type
def test_a_value_arrives_as_plain_data_where_no_type_is_asked_for(value, kind, plain):
    arrived = travelled(value)
    assert (type(arrived), arrived) == (type(plain), plain)


@by_type
def test_a_value_arrives_as_itself_where_its_type_is_asked_for(value, kind, plain):
    arrived = travelled(value, kind)
    assert (type(arrived), arrived) == (type(value), value)


def test_a_time_with_an_offset_arrives_as_the_same_moment_in_utc():
    there = dt.datetime(2024, 1, 2, tzinfo=dt.timezone(dt.timedelta(hours=2)))
    assert travelled(there).isoformat() == "2024-01-01T22:00:00+00:00"


def test_an_integer_is_taken_where_a_float_is_asked_for():
    assert type(travelled(1, float)) is float


@pytest.mark.parametrize(
    ("value", "kind"), [(1.0, int), ("1", int), (b"1", str), ("MQ==", bytes), (1, bool), (BIG, str)]
)
def test_a_value_of_another_type_is_not_converted(value, kind):
    with pytest.raises(msgspec.ValidationError):
        travelled(value, kind)


@quick
@given(
    st.recursive(
        scalars,
        lambda inner: st.lists(inner, min_size=1) | st.dictionaries(texts, inner, min_size=1),
    )
)
def test_changes_after_packing_do_not_travel(value):
    before = copy.deepcopy(value)
    packed = pack(value, LIMIT)
    if isinstance(value, (list, dict)):
        value.clear()
    _, arrived, reader = sent(packed)
    assert reader.plain(arrived) == before


@pytest.mark.parametrize("size", [10, FRAME_BYTES])
def test_changes_inside_a_value_do_not_travel_after_packing(size):
    data, inner = bytearray(size), [1]
    packed = pack({"data": data, "inner": inner, "big": BIG}, LIMIT)
    data[0] = 255
    inner.append(2)
    _, arrived, reader = sent(packed)
    assert reader.plain(arrived) == {"data": bytes(size), "inner": [1], "big": BIG}


@pytest.mark.parametrize(
    "make",
    [
        bytes,
        lambda n: "x" * n,
        lambda n: [0] * n,
        lambda n: [b"x" * FRAME_BYTES] * (n // FRAME_BYTES + 1),
    ],
)
def test_a_value_over_the_limit_is_refused(make):
    with pytest.raises(ResourceExhausted):
        pack(make(200_001), 200_000)


@pytest.mark.parametrize(
    "value",
    [
        pytest.param("\u00e9" * 150_000, id="text-of-two-bytes-a-character"),
        pytest.param(["\u00e9" * 150_000], id="such-text-in-a-list"),
        pytest.param(["a"] * 150_000, id="many-short-texts"),
        pytest.param([""] * 250_000, id="many-empty-texts"),
        pytest.param([[]] * 250_000, id="many-empty-lists"),
        pytest.param([1 << 70, *[{}] * 250_000], id="many-empty-maps-and-a-big-integer"),
    ],
)
def test_a_value_is_measured_in_the_bytes_that_it_takes(value):
    with pytest.raises(ResourceExhausted):
        pack(value, 200_000)


@pytest.mark.parametrize(
    "value",
    [
        pytest.param([0] * 150_000, id="small-numbers"),
        pytest.param([None] * 150_000, id="nothing"),
        pytest.param({str(n): True for n in range(20_000)}, id="a-map-of-bools"),
    ],
)
def test_a_value_of_many_small_parts_below_the_limit_is_sent(value):
    _, arrived, reader = sent(pack(value, 200_000))
    assert reader.plain(arrived) == value


def test_a_value_takes_no_more_frames_than_a_message_may_have():
    try:
        packed = pack([b"x" * FRAME_BYTES] * 1200, 1 << 30)
    except ResourceExhausted:
        return
    ((first, *others),) = codec.Encoder().encode([Reply(1, packed)])
    assert (len(first) > 0, len(others) < 1024) == (True, True)


def test_a_value_at_the_limit_is_sent():
    assert travelled(bytes(LIMIT)) == bytes(LIMIT)


class Foreign:
    pass


def loop() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(Foreign(), id="an-object"),
        pytest.param(1j, id="a-complex-number"),
        pytest.param(range(3), id="a-range"),
        pytest.param("\ud800", id="half-a-surrogate-pair"),
        pytest.param(loop(), id="a-list-that-holds-itself"),
        pytest.param([Foreign(), BIG], id="an-object-before-a-big-integer"),
        pytest.param([BIG, Foreign()], id="an-object-after-a-big-integer"),
        pytest.param(["\ud800", BIG], id="a-surrogate-before-a-big-integer"),
        pytest.param([BIG, "\ud800"], id="a-surrogate-after-a-big-integer"),
        pytest.param({BIG: 1}, id="a-big-integer-as-a-key"),
        pytest.param({1: BIG, Foreign(): 1}, id="an-object-as-a-key-after-a-big-integer"),
        pytest.param({1: BIG, "\ud800": 1}, id="a-surrogate-as-a-key-after-a-big-integer"),
        pytest.param(memoryview(b"abcdef")[::2], id="a-memoryview-with-gaps"),
        pytest.param(
            [bytes(FRAME_BYTES), memoryview(b"abcdef")[::2]],
            id="a-memoryview-with-gaps-among-large-bytes",
        ),
    ],
)
@pytest.mark.parametrize(
    "packer",
    [pack, pack_any, lambda value, limit: pack_args((value,), limit)],
    ids=["value", "any", "args"],
)
def test_what_cannot_be_sent_is_refused_when_it_is_packed(packer, value):
    with pytest.raises(UNPACKABLE):
        packer(value, LIMIT)


@pytest.mark.parametrize("depth", [10, 100, 200])
def test_nesting_of_a_few_hundred_levels_is_sent(depth):
    value: Any = BIG
    for _ in range(depth):
        value = [value]
    assert travelled(value) == value


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        pytest.param(Any, "81" + "80" + "01", id="a-map-as-a-key"),
        pytest.param(set, "9180", id="a-map-in-a-set"),
        pytest.param(frozenset[Any], "9180", id="a-map-in-a-frozenset"),
        pytest.param(Any, "d5010000", id="a-frame-that-is-not-there"),
        pytest.param(int, "d5010000", id="a-frame-that-is-not-there-as-a-number"),
        pytest.param(str, "a1ff", id="no-utf-8"),
        pytest.param(Any, "c1", id="no-messagepack"),
        pytest.param(Any, "92c0", id="cut-short"),
        pytest.param(Any, "", id="nothing"),
    ],
)
def test_what_cannot_be_read_is_refused_with_an_error_that_its_reader_expects(kind, data):
    with pytest.raises(UNREADABLE):
        Unpacker().typed(msgspec.Raw(bytes.fromhex(data)), kind)


@quick
@given(
    st.binary(max_size=60),
    st.sampled_from([Any, int, str, list[int], dict[str, Any], Point, Row, dt.datetime]),
)
def test_arbitrary_bytes_are_a_value_or_unreadable(data, kind):
    reader = Unpacker()
    reader.frames = [b"one", b"two"]
    try:
        reader.typed(msgspec.Raw(data), kind)
    except UNREADABLE:
        pass


def test_an_unknown_extension_arrives_as_itself():
    arrived = Unpacker().plain(msgspec.Raw(bytes.fromhex("d4630a")))
    assert (arrived.code, bytes(arrived.data)) == (99, b"\x0a")


def test_a_frame_is_copied_once_however_often_a_value_refers_to_it():
    reader = Unpacker()
    reader.frames = [bytearray(b"x" * 70_000)]
    first, *others = reader.plain(msgspec.Raw(b"\xdc\x03\xe8" + b"\xd4\x01\x00" * 1000))
    assert len(first) == 70_000
    assert all(other is first for other in others)


def test_a_value_that_refers_to_more_than_the_limit_is_none():
    reader = Unpacker()
    reader.limit = 200_000
    reader.frames = [b"x" * 70_000]
    with pytest.raises(msgspec.DecodeError, match="more than 200,000 bytes"):
        reader.plain(msgspec.Raw(b"\x93" + b"\xd4\x01\x00" * 3))
