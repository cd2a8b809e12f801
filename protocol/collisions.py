"""The guard against hash collisions: maps that their sender could make slow, found without decoding them.

The hash of a tuple or an int has no secret. A peer that knows it can send many keys that are equal in it, for which a dict takes
quadratic time. So where no annotation says what keys there are, a large map has neither arrays as keys, which become tuples, nor integers
of any length.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import msgspec
from msgspec import Raw, inspect

from .elements import EXTENSIONS, NUMBERS, ONE_BYTE, STRINGS, after_long, begun

# A map of so many entries is fast whatever its keys are.
SMALL = 255
# In so many bytes a large map is hardly worth the look.
FEW_BYTES = 2048

# The extension that is an integer of any length.
BIG_INTEGER = 2

# The least bytes of a large map.
_ROOM = 3 + 2 * (SMALL + 1)
# What is within one another is gone over to its end each time: in all, so often the data. Then arrays are passed item by item.
_LAYERS = 16

# All up to the next large map, or long array of containers. (Runs of one kind go several times as fast as tokens one by one.)
_PASSED = [
    rb"%s++" % ONE_BYTE,
    *[rb"(?:\xcb.{8})++", rb"(?:\xce.{4})++"],
    *[*NUMBERS, *STRINGS, *EXTENSIONS],
    *[rb"\xde\0.", rb"\xdf\0\0\0."],
    rb"(?:\xdc..|\xdd.{4})(?![\x80-\x9f\xdc-\xdf])",
]
_pass = re.compile(rb"(?:%s)*+" % b"|".join(_PASSED), re.DOTALL).match

# Keys of the most frequent kinds, which are harmless.
_HARMLESS = [rb"[\x00-\x7f\xa0\xc0-\xc3\xe0-\xff]++", *NUMBERS, *STRINGS]
_harmless = re.compile(rb"(?:%s)*+" % b"|".join(_HARMLESS), re.DOTALL).fullmatch

_ARRAYS = frozenset([*range(0x90, 0xA0), 0xDC, 0xDD])
_MAPS = (0xDE, 0xDF)
_HEADS = frozenset([0xDC, 0xDD, *_MAPS])  # of those that are not short
_CODES = {0xC7: 2, 0xC8: 3, 0xC9: 5, **dict.fromkeys(range(0xD4, 0xD9), 1)}  # where an extension has its code

_skip = msgspec.msgpack.Decoder(Raw).decode
_parts = msgspec.msgpack.Decoder(list[Raw]).decode
_left_over = re.compile(r"trailing characters \(byte (\d+)\)").search


def looked_at(decode: Callable[[Raw], Any]) -> Callable[[Raw], Any]:
    """That decoder, for values whose keys are looked at first."""

    def decode_checked(raw: Raw) -> Any:
        if len(raw) > FEW_BYTES:
            check_keys(bytes(raw))
        return decode(raw)

    return decode_checked


def may_be_slow(data: bytes) -> bool:
    """Whether a large map could be in the data, which are whole. Most have none, which takes no longer than to read them once."""
    if len(data) < _ROOM:
        return False
    if 0xDF in data and (b"\xdf\0" in data or len(data) >= 2 << 24):
        return True
    return 0xDE in data and _candidate(min(0xFF, len(data) >> 9))(data) is not None


@cache
def _candidate(most: int) -> Callable[[bytes], Any]:
    """Finds what may be the head of a large map, in data that have no room for more than so many times 256 entries."""
    return re.compile(rb"\xde[\x01-%b]" % re.escape(bytes([most]))).search


def check_keys(data: bytes) -> None:
    """Raises msgspec.ValidationError where a map of more than 255 entries has an array or an integer of any length among its keys.
    The data are MessagePack; where they are not, it is for the decoder to find."""
    if not may_be_slow(data):
        return
    at, end = 0, len(data)
    left = [_LAYERS * len(data)] * 2  # of arrays and of maps
    while (at := _pass(data, at).end()) < end:  # type: ignore[union-attr] # it matches nothing, too
        after = after_long(data, at)
        if after:
            at = after
            continue
        if data[at] not in _HEADS:
            return
        is_map = data[at] in _MAPS
        many, inside = begun(data, at)  # read as an array, a map is its keys and values in turn
        if left[is_map] > 0:
            size = _length(memoryview(data)[at:])
            if not size:
                return
            left[is_map] -= size
            parts = _parts(b"\xdd" + many.to_bytes(4, "big") + data[inside : at + size])
            if is_map and _check(parts[::2]):
                del parts[::2]
            if max(map(len, parts), default=0) < _ROOM:
                inside = at + size  # nothing in it has room for one
        elif is_map:
            raise _refused(f"maps of more than {SMALL} entries are in one another too deep")
        at = inside


def _length(data: memoryview) -> int:
    """Of the value that the data begin with; 0 where there is none."""
    try:
        return len(_skip(data))
    except msgspec.DecodeError as error:
        more = _left_over(str(error))
        return int(more[1]) if more else 0


def _check(keys: list[Raw]) -> bool:
    """The keys of a large map: whether they are surely harmless."""
    if _harmless(b"".join(keys)):
        return True
    for key in keys:
        data = memoryview(key)
        if data[0] in _ARRAYS:
            raise _refused(f"a map of more than {SMALL} entries has an array as a key")
        code = _CODES.get(data[0])
        if code is not None and data[code] == BIG_INTEGER:
            raise _refused(f"a map of more than {SMALL} entries has an integer of more than 64 bits as a key")
    return False


def _refused(why: str) -> msgspec.ValidationError:
    return msgspec.ValidationError(f"{why}: annotate the argument")


# What an annotation says of the keys


class Chosen(enum.Enum):
    """By whom the kinds of keys are chosen."""

    BY_SENDER = enum.auto()  # Any, somewhere
    BY_AUTHOR = enum.auto()  # arrays are asked for as keys
    FIXED = enum.auto()  # neither


# What an array becomes that may be a key.
_FROM_ARRAYS = (
    inspect.TupleType,
    inspect.VarTupleType,
    inspect.NamedTupleType,
    inspect.FrozenSetType,
    inspect.StructType,
    inspect.DataclassType,
)
# What is decoded as plain data, at first at least.
_PLAIN = (inspect.AnyType, inspect.CustomType)


def keys_chosen(kind: Any) -> Chosen:
    """Raises TypeError for what values cannot be decoded as."""
    try:
        return _kept(kind)
    except TypeError:  # it may just have no hash, as Annotated[int, {...}] has none
        return _chosen(kind)


def _chosen(kind: Any) -> Chosen:
    parts = list(parts_of(inspect.type_info(kind), set()))
    for part in parts:
        if isinstance(part, inspect.DictType) and any(
            isinstance(key, _FROM_ARRAYS) for key in parts_of(part.key_type, set())
        ):
            return Chosen.BY_AUTHOR
    return Chosen.BY_SENDER if any(isinstance(part, _PLAIN) for part in parts) else Chosen.FIXED


_kept = cache(_chosen)


def parts_of(part: Any, seen: set[int]) -> Iterator[Any]:
    """A type and all that it is made of; types may be made of themselves."""
    if isinstance(part, tuple):
        for one in part:
            yield from parts_of(one, seen)
    elif isinstance(part, (inspect.Type, inspect.Field)) and id(part) not in seen:
        seen.add(id(part))
        yield part
        for name in part.__struct_fields__:
            yield from parts_of(getattr(part, name), seen)
