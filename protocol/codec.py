"""Batches of messages to frames and back. The first frame of a batch is a four-byte preamble (magic and version) and one
MessagePack array of messages; the frames after it are bytes that the messages refer to.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Generic, TypeVar

import msgspec
from msgspec.msgpack import Ext

from ..errors import ProtocolError
from .messages import FromClient, FromServer
from .values import FRAME, UNREADABLE, Buffer, Frame, Unpacker

VERSION = 1
MAGIC = b"RBK"
PREAMBLE = MAGIC + bytes([VERSION])

# A batch grows to about this; more goes into further batches, so that none keeps a socket busy for long.
BATCH_BYTES = 512 * 1024

# The most ZeroMQ frames of one batch, the first among them.
MAX_FRAMES = 1024

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
        self._encode_into(messages, first, 4)
        if len(messages) > 1 and len(first) + sum(map(len, frames)) > BATCH_BYTES:
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


class Decoder(Generic[M]):
    """Frames to messages. `values` decodes what is in them, until the next batch."""

    def __init__(self, kind: Any) -> None:
        self.values = Unpacker()
        self._decode = msgspec.msgpack.Decoder(list[kind]).decode

    def decode(self, frames: Sequence[Buffer]) -> list[M]:
        """The messages of one batch: its first frame as bytes, the others as whatever holds them. Raises ProtocolError,
        saying what is wrong with it."""
        first: bytes = frames[0]
        if first[:4] != PREAMBLE:
            raise ProtocolError(_foreign(first))
        self.values.frames = frames[1:]
        try:
            messages: list[M] = self._decode(memoryview(first)[4:])
        except UNREADABLE as error:
            raise ProtocolError(f"this is not a batch of ringback messages: {error}") from None
        return messages


def _foreign(first: bytes) -> str:
    if first[:3] == MAGIC and len(first) > 3:
        return f"version {first[3]} of the protocol was spoken, and here is version {VERSION}"
    return "this is not ringback's protocol (wrong magic)"


def from_client() -> Decoder[FromClient]:
    """What a server reads."""
    return Decoder(FromClient)


def from_server() -> Decoder[FromServer]:
    """What a client reads."""
    return Decoder(FromServer)
