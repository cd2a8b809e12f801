"""The hash-collision guard: finds maps that would be slow to decode, without decoding them.

The hash of a tuple or an int has no secret. A peer can send many keys with equal hashes, for which
a dict takes quadratic time. So if no annotation gives the types of the keys, a large map may have
neither arrays as keys, which become tuples, nor integers of any length.
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

# Entries up to which a map is fast whatever its keys are.
SMALL = 255
# Bytes up to which a value is not checked: a large map in them costs little.
FEW_BYTES = 2048

# The extension code of an integer of any length.
BIG_INTEGER = 2

# Minimum bytes of a large map.
_ROOM = 3 + 2 * (SMALL + 1)
# Each nested container is scanned to its end. The scans of arrays, and those of maps, may together
# cover the data this many times; after that, arrays are passed item by item.
_LAYERS = 16

# Matches everything up to the next large map, or long array of containers. Runs of one kind match
# several times as fast as single tokens.
_PASSED = [
    rb"%s++" % ONE_BYTE,
    *[rb"(?:\xcb.{8})++", rb"(?:\xce.{4})++"],
    *[*NUMBERS, *STRINGS, *EXTENSIONS],
    *[rb"\xde\0.", rb"\xdf\0\0\0."],
    rb"(?:\xdc..|\xdd.{4})(?![\x80-\x9f\xdc-\xdf])",
]
_pass = re.compile(rb"(?:%s)*+" % b"|".join(_PASSED), re.DOTALL).match

# Matches keys of the most frequent harmless types.
_HARMLESS = [rb"[\x00-\x7f\xa0\xc0-\xc3\xe0-\xff]++", *NUMBERS, *STRINGS]
_harmless = re.compile(rb"(?:%s)*+" % b"|".join(_HARMLESS), re.DOTALL).fullmatch

_ARRAYS = frozenset([*range(0x90, 0xA0), 0xDC, 0xDD])
_MAPS = (0xDE, 0xDF)
_HEADS = frozenset([0xDC, 0xDD, *_MAPS])  # the heads of long arrays and maps
# Offsets of an extension's code.
_CODES = {0xC7: 2, 0xC8: 3, 0xC9: 5, **dict.fromkeys(range(0xD4, 0xD9), 1)}

_skip = msgspec.msgpack.Decoder(Raw).decode
_parts = msgspec.msgpack.Decoder(list[Raw]).decode
_left_over = re.compile(r"trailing characters \(byte (\d+)\)").search


def looked_at(decode: Callable[[Raw], Any]) -> Callable[[Raw], Any]:
    """The decoder, preceded by a check of the keys."""

    def decode_checked(raw: Raw) -> Any:
        if len(raw) > FEW_BYTES:
            check_keys(bytes(raw))
        return decode(raw)

    return decode_checked


def may_be_slow(data: bytes) -> bool:
    """Whether complete data could contain a large map.

    Most data contain none; to find that out takes no longer than one pass over them.
    """
    if len(data) < _ROOM:
        return False
    if 0xDF in data and (b"\xdf\0" in data or len(data) >= 2 << 24):
        return True
    return 0xDE in data and _candidate(min(0xFF, len(data) >> 9))(data) is not None


@cache
def _candidate(most: int) -> Callable[[bytes], Any]:
    """A search for the head of a large map, in data with room for at most `most` * 256 entries."""
    return re.compile(rb"\xde[\x01-%b]" % re.escape(bytes([most]))).search


def check_keys(data: bytes) -> None:
    """Check the keys of all large maps in the data.

    Raises msgspec.ValidationError if a map of more than 255 entries has an array or an integer of
    any length among its keys. The data are MessagePack; if they are malformed, the decoder finds
    it.
    """
    if not may_be_slow(data):
        return
    at, end = 0, len(data)
    left = [_LAYERS * len(data)] * 2  # bytes left to scan, for arrays and for maps
    while (at := _pass(data, at).end()) < end:  # type: ignore[union-attr] # it always matches
        after = after_long(data, at)
        if after:
            at = after
            continue
        if data[at] not in _HEADS:
            return
        is_map = data[at] in _MAPS
        many, inside = begun(data, at)  # as an array, a map has keys and values in turn
        if left[is_map] > 0:
            size = _length(memoryview(data)[at:])
            if not size:
                return
            left[is_map] -= size
            parts = _parts(b"\xdd" + many.to_bytes(4, "big") + data[inside : at + size])
            if is_map and _check(parts[::2]):
                del parts[::2]
            if max(map(len, parts), default=0) < _ROOM:
                inside = at + size  # no part has room for a large map
        elif is_map:
            raise _refused(f"maps of more than {SMALL} entries are nested too deeply")
        at = inside


def _length(data: memoryview) -> int:
    """Bytes of the value at the start of the data; 0 if there is none."""
    try:
        return len(_skip(data))
    except msgspec.DecodeError as error:
        more = _left_over(str(error))
        return int(more[1]) if more else 0


def _check(keys: list[Raw]) -> bool:
    """Whether the keys of a large map are surely harmless. Raises ValidationError for bad keys."""
    if _harmless(b"".join(keys)):
        return True
    for key in keys:
        data = memoryview(key)
        if data[0] in _ARRAYS:
            raise _refused(f"a map of more than {SMALL} entries has an array as a key")
        code = _CODES.get(data[0])
        if code is not None and data[code] == BIG_INTEGER:
            raise _refused(
                f"a map of more than {SMALL} entries has an integer of more than 64 bits as a key"
            )
    return False


def _refused(why: str) -> msgspec.ValidationError:
    return msgspec.ValidationError(f"{why}: annotate the argument")


# Annotations and keys


class Chosen(enum.Enum):
    """The party that chooses the types of map keys."""

    BY_SENDER = enum.auto()  # the annotation contains Any
    BY_AUTHOR = enum.auto()  # the annotation asks for arrays as keys
    FIXED = enum.auto()  # neither


# Types of keys that are decoded from arrays.
_FROM_ARRAYS = (
    inspect.TupleType,
    inspect.VarTupleType,
    inspect.NamedTupleType,
    inspect.FrozenSetType,
    inspect.StructType,
    inspect.DataclassType,
)
# Types that are decoded as plain data, at least at first.
_PLAIN = (inspect.AnyType, inspect.CustomType)


def keys_chosen(kind: Any) -> Chosen:
    """The party that chooses the types of map keys in values of that type.

    Raises TypeError for a type that values cannot be decoded as.
    """
    try:
        return _kept(kind)
    except TypeError:  # it may just be unhashable, as Annotated[int, {...}] is
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
    """A type and all types in it. A type may contain itself; `seen` has the ids of those done."""
    if isinstance(part, tuple):
        for one in part:
            yield from parts_of(one, seen)
    elif isinstance(part, (inspect.Type, inspect.Field)) and id(part) not in seen:
        seen.add(id(part))
        yield part
        for name in part.__struct_fields__:
            yield from parts_of(getattr(part, name), seen)
