"""Batches of messages to frames and back. The first frame of a batch is a four-byte preamble (magic and version) and one
MessagePack array of messages; the frames after it are bytes that the messages refer to.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Generic, TypeVar

import msgspec
from msgspec import Struct
from msgspec.msgpack import Ext

from ..errors import ProtocolError
from .bounds import BATCH_BYTES, MAX_FRAMES, MAX_MESSAGES
from .elements import array_length, more_than
from .messages import Call, FromClient, FromServer, Item, Map, Notify
from .values import FRAME, NOTHING, Buffer, Frame, Unpacker

VERSION = 1
MAGIC = b"RBK"
PREAMBLE = MAGIC + bytes([VERSION])

# Bytes of a message, at least.
_SHORTEST = 3

M = TypeVar("M")


class Unencodable(Exception):
    """Messages that cannot be encoded, each with the reason: those, and no others, are not sent."""

    def __init__(self, sound: list[Any], spoiled: list[tuple[Any, Exception]]) -> None:
        super().__init__(f"{len(spoiled)} of {len(sound) + len(spoiled)} messages cannot be encoded")
        self.sound = sound
        self.spoiled = spoiled


class Encoder:
    """Messages to frames; one for each end."""

    def __init__(self) -> None:
        self._frames: list[bytes | memoryview] = []
        self._beside = 0  # the most of them
        self._encode_into = msgspec.msgpack.Encoder(enc_hook=self._attach).encode_into

    def encode(
        self, messages: list[Any], max_messages: int = MAX_MESSAGES, max_frames: int = MAX_FRAMES
    ) -> list[list[bytes | bytearray | memoryview]]:
        """The messages, in order, as batches: each the frames of one ZeroMQ message, within what its reader takes. Raises
        Unencodable where some of them cannot be."""
        frames = self._frames = []
        self._beside = max_frames - 1
        first = bytearray(PREAMBLE)
        many = len(messages)
        try:
            if many <= max_messages:
                self._encode_into(messages, first, 4)
            if many > 1 and (many > max_messages or len(first) + sum(map(len, frames)) > BATCH_BYTES):
                middle = many // 2
                halves = messages[:middle], messages[middle:]
                return [batch for half in halves for batch in self.encode(half, max_messages, max_frames)]
        except Exception as error:
            raise self._sorted(messages, error) from None
        return [[first, *frames]]

    def _sorted(self, messages: list[Any], failure: Exception) -> Exception:
        """Which of them cannot be encoded? Where each can, the failure is of all together."""
        sound, spoiled = [], []
        for message in messages:
            try:
                self._encode_into([message], bytearray())
            except Exception as error:
                spoiled.append((message, error))
            else:
                sound.append(message)
        return Unencodable(sound, spoiled) if spoiled else failure

    def _attach(self, value: Any) -> Any:
        if type(value) is not Frame:
            raise TypeError(f"a {type(value).__name__} in a message was not packed")
        if len(self._frames) >= self._beside:
            return value.data
        self._frames.append(value.data)
        return Ext(FRAME, (len(self._frames) - 1).to_bytes(2, "big"))


class TooMuch(ProtocolError):
    """One call or item has more in it than the reader takes, and was not decoded: `of` is that, without its arguments or value."""

    def __init__(self, of: Call | Notify | Item, what: str) -> None:
        whose = "an item has" if type(of) is Item else "the arguments have"
        super().__init__(f"{whose} {what}")
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


class _MapHead(Struct, array_like=True, tag=19):
    id: int
    method: str

    def message(self) -> Map:
        return Map(self.id, self.method, NOTHING)


_decode_head = msgspec.msgpack.Decoder(tuple[_CallHead | _NotifyHead | _ItemHead | _MapHead]).decode


class Decoder(Generic[M]):
    """Frames to messages. `values` decodes what is in them, until the next batch. `max_elements`: the most in one batch: values, keys,
    lists and maps, which take up to 80 times as much when they are decoded. `wary`: of keys in maps, as an Unpacker is."""

    def __init__(
        self,
        kind: Any,
        max_elements: int = 1 << 62,
        max_messages: int = MAX_MESSAGES,
        max_frames: int = MAX_FRAMES,
        *,
        wary: bool = False,
    ) -> None:
        self._max_elements = max_elements
        self._max_messages = max_messages
        self._max_frames = max_frames
        # What is no longer cannot be over any of them, and is not looked at.
        self._long = min(_SHORTEST * max_messages, max_elements)
        self.values = Unpacker(wary=wary)
        self._decode = msgspec.msgpack.Decoder(list[kind]).decode

    def decode(self, frames: Sequence[Buffer]) -> list[M]:
        """The messages of one batch: its first frame as bytes, the others as whatever holds them. Raises ProtocolError, saying
        what is wrong with the batch; TooMuch where that is one call or item."""
        first: bytes = frames[0]
        if len(frames) > self._max_frames:
            raise ProtocolError(f"a message of {len(frames)} frames")
        if first[:4] != PREAMBLE:
            raise ProtocolError(_foreign(first))
        self.values.begin(frames[1:] if len(frames) > 1 else ())
        try:
            if len(first) > self._long:
                self._look_at(first)
            messages: list[M] = self._decode(memoryview(first)[4:])
        except ProtocolError:
            raise
        except Exception as error:
            raise ProtocolError(f"this is not a batch of ringback messages: {error}") from None
        return messages

    def _look_at(self, first: bytes) -> None:
        """Before a long batch is decoded: has it more than is taken?"""
        if array_length(first, 4) > self._max_messages:
            raise ProtocolError(f"a batch of more than {self._max_messages:,} messages")
        most = self._max_elements
        if len(first) > most and more_than(most, first, 4):
            self._refuse(first, f"more than {most:,} elements")

    def _refuse(self, first: bytes, what: str) -> None:
        try:
            (head,) = _decode_head(memoryview(first)[4:])
        except Exception:
            raise ProtocolError(f"a batch with {what}") from None
        raise TooMuch(head.message(), what)


def _foreign(first: bytes) -> str:
    if first[:3] == MAGIC and len(first) > 3:
        return f"version {first[3]} of the protocol was spoken, and here is version {VERSION}"
    return "this is not ringback's protocol (wrong magic)"


def from_client(**bounds: Any) -> Decoder[FromClient]:
    """What a server reads, within the bounds of `Decoder`."""
    return Decoder(FromClient, **bounds, wary=True)


def from_server() -> Decoder[FromServer]:
    """What a client reads."""
    return Decoder(FromServer)
