"""Batches of messages to frames and back. The first frame of a batch is a four-byte preamble (magic and version) and one
MessagePack array of messages; the frames after it are bytes that the messages refer to.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Generic, TypeVar

import msgspec
from msgspec import Struct
from msgspec.msgpack import Ext

from ..errors import ProtocolError, UsageError
from .elements import more_than
from .messages import Call, FromClient, FromServer, Item, Notify
from .values import FRAME, NOTHING, UNREADABLE, Buffer, Frame, Unpacker

VERSION = 1
MAGIC = b"RBK"
PREAMBLE = MAGIC + bytes([VERSION])

# A batch grows to about this; more goes into further batches, so that none keeps a socket busy for long.
BATCH_BYTES = 512 * 1024

# The most ZeroMQ frames of one batch, the first among them.
MAX_FRAMES = 1024

# The most messages of one batch: what is sent takes three bytes at least, and many times as much when it is read.
MAX_MESSAGES = 65_536

# Only longer batches may have more messages than that, or more elements than a reader takes, so that no other is looked at.
_LONG = 3 * MAX_MESSAGES

M = TypeVar("M")


class Encoder:
    """Messages to frames; one for each end."""

    def __init__(self) -> None:
        self._frames: list[bytes | memoryview] = []
        self._encode_into = msgspec.msgpack.Encoder(enc_hook=self._attach).encode_into

    def encode(self, messages: list[Any]) -> list[list[bytes | bytearray | memoryview]]:
        """The messages, in order, as batches: each the frames of one ZeroMQ message."""
        frames = self._frames = []
        first = bytearray(PREAMBLE)
        many = len(messages)
        if many <= MAX_MESSAGES:
            self._encode_into(messages, first, 4)
        if many > 1 and (many > MAX_MESSAGES or len(first) + sum(map(len, frames)) > BATCH_BYTES):
            middle = len(messages) // 2
            return self.encode(messages[:middle]) + self.encode(messages[middle:])
        return [[first, *frames]]

    def _attach(self, value: Any) -> Any:
        if type(value) is not Frame:
            raise TypeError(f"a {type(value).__name__} in a message was not packed")
        if len(self._frames) == MAX_FRAMES - 1:
            return value.data
        self._frames.append(value.data)
        return Ext(FRAME, (len(self._frames) - 1).to_bytes(2, "big"))


class TooManyElements(ProtocolError):
    """One call or item has more elements than the reader takes, and was not decoded: `of` is that, without its arguments or value."""

    def __init__(self, of: Call | Notify | Item, most: int) -> None:
        what = "an item has" if type(of) is Item else "the arguments have"
        super().__init__(f"{what} more than {most:,} elements")
        self.of = of


class _CallHead(Struct, array_like=True, tag=3):
    """What of a Call is read where the rest is not to be."""

    id: int
    method: str

    def message(self) -> Call:
        return Call(self.id, self.method, NOTHING)


class _NotifyHead(Struct, array_like=True, tag=4):
    method: str

    def message(self) -> Notify:
        return Notify(self.method, NOTHING)


class _ItemHead(Struct, array_like=True, tag=7):
    id: int

    def message(self) -> Item:
        return Item(self.id, NOTHING)


_decode_head = msgspec.msgpack.Decoder(tuple[_CallHead | _NotifyHead | _ItemHead]).decode


def checked_max_elements(max_elements: int) -> int:
    """The most elements of one call. Raises UsageError for so few that many small calls in one batch might have more together."""
    if max_elements < BATCH_BYTES:
        raise UsageError(f"max_elements must be at least {BATCH_BYTES}, not {max_elements}")
    return max_elements


class Decoder(Generic[M]):
    """Frames to messages. `values` decodes what is in them, until the next batch. `max_elements`: the most in one batch: values, keys,
    lists and maps, which take up to 80 times as much when they are decoded."""

    def __init__(self, kind: Any, max_elements: int = 1 << 62) -> None:
        self._max_elements = max_elements
        self.values = Unpacker()
        self._decode = msgspec.msgpack.Decoder(list[kind]).decode

    def decode(self, frames: Sequence[Buffer]) -> list[M]:
        """The messages of one batch: its first frame as bytes, the others as whatever holds them. Raises ProtocolError,
        saying what is wrong with it; TooManyElements where that is one call or item."""
        first: bytes = frames[0]
        if first[:4] != PREAMBLE:
            raise ProtocolError(_foreign(first))
        if len(first) > _LONG:
            self._look_at(first)
        self.values.frames = frames[1:]
        try:
            messages: list[M] = self._decode(memoryview(first)[4:])
        except UNREADABLE as error:
            raise ProtocolError(f"this is not a batch of ringback messages: {error}") from None
        return messages

    def _look_at(self, first: bytes) -> None:
        """Before a long batch is decoded: has it more than is taken?"""
        if first[4] == 0xDD and int.from_bytes(first[5:9], "big") > MAX_MESSAGES:
            raise ProtocolError(f"a batch of more than {MAX_MESSAGES:,} messages")
        most = self._max_elements
        if len(first) <= most or not more_than(most, first, 4):
            return
        try:
            (head,) = _decode_head(memoryview(first)[4:])
        except UNREADABLE:
            raise ProtocolError(f"a batch of more than {most:,} elements") from None
        raise TooManyElements(head.message(), most)


def _foreign(first: bytes) -> str:
    if first[:3] == MAGIC and len(first) > 3:
        return f"version {first[3]} of the protocol was spoken, and here is version {VERSION}"
    return "this is not ringback's protocol (wrong magic)"


def from_client(max_elements: int = 1 << 62) -> Decoder[FromClient]:
    """What a server reads."""
    return Decoder(FromClient, max_elements)


def from_server() -> Decoder[FromServer]:
    """What a client reads."""
    return Decoder(FromServer)
