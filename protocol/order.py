"""One order for the entries of maps: what says the same twice is to be the same bytes."""

from __future__ import annotations

import re

import msgspec

_maybe_map = re.compile(rb"[\x80-\x8f\xde\xdf]").search
_decode = msgspec.msgpack.Decoder().decode
_encode = msgspec.msgpack.Encoder(order="deterministic").encode


def ordered(data: bytes) -> bytes:
    """The value in these bytes of MessagePack, with the entries of each map in one order. Where there is no such order (keys of several
    kinds), or the value cannot be read, the bytes as they are."""
    if not _maybe_map(data):
        return data
    try:
        return _encode(_decode(data))
    except Exception:
        return data
