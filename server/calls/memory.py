"""Estimates the memory that a call's arguments take, from their size on the wire.

The result counts towards the bytes in flight. An empty list takes one byte on the wire and 64 in
memory. So each element (a value, key, list or map) counts 64 bytes beyond its encoded size. The
estimate is half of the real size for maps of one entry, up to three times for most data, and eight
times for small integers and bools.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Raw
from msgspec.msgpack import encode

from ...protocol.elements import count
from ...protocol.messages import Call, CallOptions, Notify
from ...protocol.values import Unpacker

ELEMENT = 64

# Arguments of these types take about as much memory as on the wire.
_SCALARS = frozenset({str, bytes, int, float, bool, type(None), bytearray, memoryview})

# Up to this number, arguments are checked one by one.
_FEW = 16

# Up to this size, each byte counts as an element.
_SHORT = 512


def size_of(message: Call | Notify, values: Unpacker) -> int:
    """Bytes of a call's arguments on the wire. Call it just after the arguments were bound."""
    return encoded(message) + values.taken


def encoded(message: Call | Notify) -> int:
    """Bytes of the arguments on the wire, without those in separate frames."""
    named = message.kwargs
    return len(message.args) + (
        sum(map(len, named)) + sum(map(len, named.values())) if named else 0
    )


def memory_of(
    message: Call | Notify, args: tuple[Any, ...], kwargs: Mapping[str, Any], size: int, free: int
) -> int:
    """Estimate the memory of a call's arguments, in bytes. `size` is their size on the wire.

    Counting the elements takes as long as decoding them. So it is done only if `free` bytes do not
    suffice for the upper bound, one element a byte.
    """
    if len(args) + len(kwargs) <= _FEW:
        for value in args:  # (a loop takes half as long as `issuperset`)
            if type(value) not in _SCALARS:
                break
        else:
            if not kwargs or _SCALARS.issuperset(map(type, kwargs.values())):
                return size
    most = size + ELEMENT * encoded(message)
    return most if most <= free else size + ELEMENT * _elements(message)


def memory_of_item(value: Raw, item: Any, taken: int) -> int:
    """Estimate the memory of an item of a stream; `taken` of its bytes came in separate frames."""
    return taken + (len(value) if type(item) in _SCALARS else memory_of_data(value))


def memory_of_options(options: CallOptions) -> int:
    """Estimate the memory of a call's options, which are held as long as its arguments."""
    if not options.metadata and options.key is None and not options.versions:
        return 0
    return memory_of_data(encode(options))


def memory_of_data(data: Raw | bytes, free: int = 0) -> int:
    """Estimate the memory of a packed value once it is decoded, in bytes.

    Counts the elements only if `free` bytes do not suffice for the upper bound.
    """
    size = len(data)
    if size + ELEMENT * size <= free:
        return size + ELEMENT * size
    return size + ELEMENT * (size if size <= _SHORT else count(bytes(data)))


def _elements(message: Call | Notify) -> int:
    named = message.kwargs or {}
    return len(named) + sum(count(bytes(raw)) for raw in (message.args, *named.values()))
