"""Keys and values between users and engines."""

from __future__ import annotations

from typing import Any

import msgspec

from .. import errors

# Bytes of a key, and of a value, at most.
LONGEST_KEY = 1024
LARGEST_VALUE = 16 * 1024 * 1024

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode


def row_of(key: str) -> str:
    """The name of the row that holds a key's value. Raises InvalidArgument for what is no key."""
    try:
        if isinstance(key, str) and 0 < len(key.encode()) <= LONGEST_KEY:
            return f"d:{key}"
    except UnicodeError:
        pass
    raise errors.InvalidArgument(f"a key is a string of 1 to {LONGEST_KEY} bytes, not {key!r:.100}")


def packed(key: str, value: Any) -> bytes:
    """Raises InvalidArgument for what MessagePack does not have, ResourceExhausted for what is too large."""
    try:
        data: bytes = _encode(value)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise errors.InvalidArgument(f"the value of {key!r} cannot be stored: {error}") from None
    if len(data) > LARGEST_VALUE:
        raise errors.ResourceExhausted(
            f"the value of {key!r} has {len(data):,} bytes, over the limit of {LARGEST_VALUE:,}"
        )
    return data


def unpacked(data: bytes) -> Any:
    return _decode(data)
