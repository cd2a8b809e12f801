"""Conversion and checks of keys and values between users and engines."""

from __future__ import annotations

from typing import Any

import msgspec

from .. import errors

# Maximum bytes of a key, and of a value.
LONGEST_KEY = 1024
LARGEST_VALUE = 16 * 1024 * 1024
# Seconds in a hundred years.
LONGEST_TTL = 100 * 366 * 86_400

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode


def row_of(key: str) -> str:
    """The name of the row that holds a key's value. Raises InvalidArgument for an invalid key."""
    return f"d:{checked_name('a key', key)}"


def checked_name(what: str, name: str) -> str:
    """Return the name. Raises InvalidArgument for an invalid one."""
    try:
        if isinstance(name, str) and 0 < len(name.encode()) <= LONGEST_KEY:
            return name
    except UnicodeError:
        pass
    raise errors.InvalidArgument(
        f"{what} must be a string of 1 to {LONGEST_KEY} bytes, not {name!r:.100}"
    )


def packed(key: str, value: Any) -> bytes:
    """Encode the value.

    Raises InvalidArgument if MessagePack cannot represent it, ResourceExhausted if it is too large.
    """
    try:
        data: bytes = _encode(value)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise errors.InvalidArgument(f"the value of {key!r} cannot be stored: {error}") from None
    if len(data) > LARGEST_VALUE:
        raise errors.ResourceExhausted(
            f"the value of {key!r} has {len(data):,} bytes, over the limit of {LARGEST_VALUE:,}"
        )
    return data


def checked_version(key: str, version: int) -> int:
    """Return the version. Raises InvalidArgument for an invalid one: engines compare types
    differently."""
    if type(version) is not int or version < 0:
        raise errors.InvalidArgument(
            f"the version of {key!r} must be an int of 0 or more, not {version!r:.100}"
        )
    return version


def checked_ttl(key: str, ttl: float | None) -> float | None:
    """Return the time to live. Raises InvalidArgument for an invalid one."""
    if ttl is None or (
        isinstance(ttl, int | float) and not isinstance(ttl, bool) and 0 < ttl <= LONGEST_TTL
    ):
        return ttl
    raise errors.InvalidArgument(
        f"ttl of {key!r} must be a number of seconds above 0, at most {LONGEST_TTL:,}, not "
        f"{ttl!r:.100}"
    )


def unpacked(data: bytes) -> Any:
    return _decode(data)
