"""A fixed order for the entries of maps, so that equal values have equal bytes."""

from __future__ import annotations

import re

import msgspec

_maybe_map = re.compile(rb"[\x80-\x8f\xde\xdf]").search
_decode = msgspec.msgpack.Decoder().decode
_encode = msgspec.msgpack.Encoder(order="deterministic").encode


def ordered(data: bytes) -> bytes:
    """The MessagePack data with the entries of each map in a fixed order.

    Returns the data unchanged if there is no such order (keys of several types), or if the value
    cannot be read.
    """
    if not _maybe_map(data):
        return data
    try:
        return _encode(_decode(data))
    except Exception:
        return data
