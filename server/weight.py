"""What a call is counted for among the bytes in flight: what its arguments take in memory, estimated from what they took on the wire.

An empty list is one byte there and 64 here. So each element (a value, key, list or map) counts as 64 bytes beside its own: half of the
truth for maps of one entry, up to three times for most data, and eight times for small integers and bools.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec.msgpack import encode

from ..protocol.elements import count
from ..protocol.messages import Call, CallOptions, Notify
from ..protocol.values import Unpacker

ELEMENT = 64

# Arguments of these types take about as much as on the wire.
_SCALARS = frozenset({str, bytes, int, float, bool, type(None), bytearray, memoryview})


def size_of(message: Call | Notify, values: Unpacker) -> int:
    """The bytes that the arguments of a call took on the wire: it has just been bound."""
    return _encoded(message) + values.taken


def weight_of(
    message: Call | Notify, args: tuple[Any, ...], kwargs: Mapping[str, Any], size: int, free: int
) -> int:
    """The bytes that they take in memory. Elements are counted, as long as it takes to decode them, only where `free` bytes would not do
    if each byte were one."""
    if _SCALARS.issuperset(map(type, args)) and (
        not kwargs or _SCALARS.issuperset(map(type, kwargs.values()))
    ):
        return size
    most = size + ELEMENT * _encoded(message)
    return most if most <= free else size + ELEMENT * _elements(message)


def weight_of_metadata(options: CallOptions | None) -> int:
    """They are held as long as the arguments are."""
    if options is None or not options.metadata:
        return 0
    data = encode(options.metadata)
    return len(data) + ELEMENT * count(data)


def _encoded(message: Call | Notify) -> int:
    return len(message.args) + (sum(map(len, message.kwargs.values())) if message.kwargs else 0)


def _elements(message: Call | Notify) -> int:
    return sum(count(bytes(raw)) for raw in (message.args, *(message.kwargs or {}).values()))
