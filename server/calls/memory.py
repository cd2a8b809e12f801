"""What a call is counted for among the bytes in flight: what its arguments take in memory, estimated from what they took on the wire.

An empty list is one byte there and 64 here. So each element (a value, key, list or map) counts as 64 bytes beside its own: half of the
truth for maps of one entry, up to three times for most data, and eight times for small integers and bools.
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

# Arguments of these types take about as much as on the wire.
_SCALARS = frozenset({str, bytes, int, float, bool, type(None), bytearray, memoryview})

# So many arguments are looked at one by one.
_FEW = 16

# In so few bytes each is taken for an element.
_SHORT = 512


def size_of(message: Call | Notify, values: Unpacker) -> int:
    """The bytes that the arguments of a call took on the wire: it has just been bound."""
    return encoded(message) + values.taken


def encoded(message: Call | Notify) -> int:
    """Those of them that did not come in frames of their own."""
    named = message.kwargs
    return len(message.args) + (sum(map(len, named)) + sum(map(len, named.values())) if named else 0)


def memory_of(
    message: Call | Notify, args: tuple[Any, ...], kwargs: Mapping[str, Any], size: int, free: int
) -> int:
    """The bytes that they take in memory. Elements are counted, as long as it takes to decode them, only where `free` bytes would not do
    if each byte were one."""
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
    """The same for an item, with so many bytes in frames of their own."""
    return taken + (len(value) if type(item) in _SCALARS else memory_of_data(value))


def memory_of_options(options: CallOptions) -> int:
    """They are held as long as the arguments are."""
    if not options.metadata and options.key is None and not options.versions:
        return 0
    return memory_of_data(encode(options))


def memory_of_data(data: Raw | bytes, free: int = 0) -> int:
    """What such a value takes, once it is decoded. Its elements are counted only where `free` bytes would not do if each byte were one."""
    size = len(data)
    if size + ELEMENT * size <= free:
        return size + ELEMENT * size
    return size + ELEMENT * (size if size <= _SHORT else count(bytes(data)))


def _elements(message: Call | Notify) -> int:
    named = message.kwargs or {}
    return len(named) + sum(count(bytes(raw)) for raw in (message.args, *named.values()))
