"""Which maps could be made slow by whoever sends them, found without decoding them.

The hash of a tuple or an int has no secret. Who knows it can send many keys that are equal in it, for which a dict takes quadratic time. So
where no annotation says what keys there are, a large map has neither arrays as keys, which become tuples, nor integers of any length.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from typing import Any

import msgspec
from msgspec import Raw

from .elements import begun

# A map of so many entries is fast whatever its keys are.
SMALL = 255
# In so many bytes a large map is hardly worth the look.
FEW_BYTES = 2048

# The extension that is an integer of any length.
BIG_INTEGER = 2

# The least bytes of a large map.
_ROOM = 3 + 2 * (SMALL + 1)
# Bytes that are looked at in all, where containers are within each other: so often the data, and so many.
_LAYERS, _FREE = 16, 4 << 20

_ARRAYS = frozenset([*range(0x90, 0xA0), 0xDC, 0xDD])
_CONTAINERS = frozenset([*range(0x80, 0xA0), *range(0xDC, 0xE0)])
_MAPS = frozenset([*range(0x80, 0x90), 0xDE, 0xDF])
_CODES = {0xC7: 2, 0xC8: 3, 0xC9: 5, **dict.fromkeys(range(0xD4, 0xD9), 1)}  # where an extension has its code

# Numbers alone, which are most of what is long and has no text: several times as fast as part by part.
_numbers = re.compile(
    rb"(?:[\xcb\xcf\xd3].{8}|[\xca\xce\xd2].{4}|[\xcd\xd1]..|[\xcc\xd0].|[\x00-\x7f\xc0\xc2\xc3\xe0-\xff]++)*+",
    re.DOTALL,
).fullmatch
_parts = msgspec.msgpack.Decoder(list[Raw]).decode


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
    """Raises msgspec.ValidationError where a map of more than 255 entries has an array or an integer of any length among its keys, and
    where the data are too deep to find that out. What is no MessagePack is for the decoder to find."""
    if not may_be_slow(data):
        return
    left = _LAYERS * len(data) + _FREE
    waiting: list[bytes | Raw] = [data]
    while waiting:
        part = bytes(waiting.pop())
        if part[0] not in _CONTAINERS:
            continue
        left -= len(part)
        if left < 0:
            raise _refused(f"a map of more than {SMALL} entries may be in it too deep")
        many, inside = begun(part, 0)  # read as an array, a map is its keys and values in turn
        if _numbers(part, inside):
            continue
        try:
            parts = _parts(b"\xdd" + many.to_bytes(4, "big") + part[inside:])
        except msgspec.DecodeError:
            return
        if part[0] in _MAPS and many > 2 * SMALL:
            _check(parts[::2])
        waiting += [each for each in parts if len(each) >= _ROOM]


def _check(keys: list[Raw]) -> None:
    """The keys of a large map."""
    for key in keys:
        data = memoryview(key)
        if data[0] in _ARRAYS:
            raise _refused(f"a map of more than {SMALL} entries has an array as a key")
        code = _CODES.get(data[0])
        if code is not None and data[code] == BIG_INTEGER:
            raise _refused(f"a map of more than {SMALL} entries has an integer of more than 64 bits as a key")


def _refused(why: str) -> msgspec.ValidationError:
    return msgspec.ValidationError(f"{why}: annotate the argument")
