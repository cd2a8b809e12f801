"""Encodes the arguments of a call."""

from __future__ import annotations

from typing import Any

from ... import errors
from ...protocol.values import INT64_MIN, STREAM, UINT64_MAX, pack, pack_args, size_of_arguments

# Maximum characters of a method's name.
LONGEST_NAME = 65_536

# Bytes of arguments from which they count towards `max_bytes_in_flight`.
WEIGHTY = 4096

# Maximum bytes of a plain value beyond its text.
_HEAD = 9


def pack_arguments(
    method: str, args: tuple[Any, ...], kwargs: dict[str, Any], limit: int
) -> tuple[Any, Any]:
    """Encode the arguments of a call.
    Returns the positional ones, and the keyword ones by name or None. `limit`: maximum bytes of all
    together. Few small immutable arguments that surely encode are returned as they are. Raises
    ResourceExhausted over the limit, InvalidArgument for an argument that cannot be sent."""
    try:
        taken = len(method)
        for value in args:
            kind = type(value)
            if kind is bytes or (kind is str and value.isascii()):
                taken += len(value) + _HEAD
            elif (
                (kind is int and INT64_MIN <= value <= UINT64_MAX)
                or kind is float
                or kind is bool
                or value is None
            ):
                taken += _HEAD
            else:
                taken = WEIGHTY
        if taken < WEIGHTY and taken <= limit and not kwargs and method.isascii():
            return args, None
        packed = pack_args(args, limit)
        if len(method) > LONGEST_NAME:
            raise errors.ResourceExhausted(f"its name has {len(method):,} characters")
        if not kwargs:
            if not method.isascii():
                method.encode()  # raises for a lone surrogate, which would spoil the whole batch
            return packed, None
        names = b"".join(name.encode() for name in (method, *kwargs))
        packed_kwargs = {plain_name(name): pack(value, limit) for name, value in kwargs.items()}
        taken = size_of_arguments(packed, packed_kwargs) + len(names)
        if taken > limit:
            raise errors.ResourceExhausted(f"{taken:,} bytes are over the limit of {limit:,}")
        return packed, packed_kwargs
    except errors.ResourceExhausted as error:
        text = f"the arguments of {_printable(method)} are too large: {error}"
        raise errors.ResourceExhausted(text) from None
    except Exception as error:
        text = f"the arguments of {_printable(method)} cannot be sent: {errors.described(error)}"
        raise errors.InvalidArgument(text) from None


def is_stream(value: Any) -> bool:
    """Whether an argument streams: iterators do, sync or async; merely iterable values do not."""
    return hasattr(type(value), "__next__") or hasattr(type(value), "__anext__")


def without_stream(
    method: str, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
    """Replace the streaming argument by a marker. Returns it, or None, and the arguments.
    Raises InvalidArgument if there are two."""
    streams = [value for value in (*args, *kwargs.values()) if is_stream(value)]
    if len(streams) > 1:
        raise errors.InvalidArgument(f"{method}: only one argument may be an iterator")
    marked = tuple(STREAM if is_stream(value) else value for value in args)
    named = {name: STREAM if is_stream(value) else value for name, value in kwargs.items()}
    return (streams[0] if streams else None), marked, named


def plain_name(name: str) -> str:
    """A method name as a plain str; a subclass of str, such as a StrEnum, gives its text.
    Raises TypeError."""
    if type(name) is str:
        return name
    if not isinstance(name, str):
        raise TypeError(f"a method name must be a string, not {name!r}")
    return str.__str__(name)


def _printable(text: str) -> str:
    return text[:200].encode("utf-8", "backslashreplace").decode()
