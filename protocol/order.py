"""One order for the entries of maps: what says the same twice is to be the same bytes."""

from __future__ import annotations

import re

import msgspec
from msgspec import Raw

from .elements import begun

_maybe_map = re.compile(rb"[\x80-\x8f\xde\xdf]").search
_parts = msgspec.msgpack.Decoder(list[Raw]).decode


def ordered(data: bytes) -> bytes:
    """The value in these bytes of MessagePack, with the entries of each map in the order of their keys' bytes."""
    first = data[0] if data else 0xC1
    is_map = 0x80 <= first <= 0x8F or 0xDE <= first <= 0xDF
    if not (is_map or 0x90 <= first <= 0x9F or 0xDC <= first <= 0xDD) or not _maybe_map(data):
        return data
    many, inside = begun(data, 0)  # read as an array, a map is its keys and values in turn
    length = many.to_bytes(4, "big")
    parts = [ordered(bytes(part)) for part in _parts(b"\xdd" + length + data[inside:])]
    if is_map:
        pairs = sorted(zip(parts[::2], parts[1::2], strict=True))
        parts = [part for pair in pairs for part in pair]
    return (b"\xdf" if is_map else b"\xdd") + length + b"".join(parts)
