"""Batches of messages to frames and back.

The first frame of a batch is a four-byte preamble (magic and version) and one MessagePack array of
messages; the frames after it are byte strings that the messages refer to.
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

# Minimum bytes of a message.
_SHORTEST = 3

M = TypeVar("M")


class Unencodable(Exception):
    """Some messages cannot be encoded: `spoiled` (with their errors), but not `sound`."""

    def __init__(self, sound: list[Any], spoiled: list[tuple[Any, Exception]]) -> None:
        super().__init__(
            f"{len(spoiled)} of {len(sound) + len(spoiled)} messages cannot be encoded"
        )
        self.sound = sound
        self.spoiled = spoiled


class Encoder:
    """Encodes messages to frames. Each end has one."""

    def __init__(self) -> None:
        self._frames: list[bytes | memoryview] = []
        self._beside = 0  # maximum number of `_frames`
        self._encode_into = msgspec.msgpack.Encoder(enc_hook=self._attach).encode_into

    def encode(
        self, messages: list[Any], max_messages: int = MAX_MESSAGES, max_frames: int = MAX_FRAMES
    ) -> list[list[bytes | bytearray | memoryview]]:
        """The messages, in order, as batches within the limits of the peer.

        A batch is the list of the frames of one ZeroMQ message. Raises Unencodable if some messages
        cannot be encoded.
        """
        frames = self._frames = []
        self._beside = max_frames - 1
        first = bytearray(PREAMBLE)
        many = len(messages)
        try:
            if many <= max_messages:
                self._encode_into(messages, first, 4)
            if many > 1 and (
                many > max_messages or len(first) + sum(map(len, frames)) > BATCH_BYTES
            ):
                middle = many // 2
                halves = messages[:middle], messages[middle:]
                return [
                    batch
                    for half in halves
                    for batch in self.encode(half, max_messages, max_frames)
                ]
        except Exception as error:
            raise self._sorted(messages, error) from None
        return [[first, *frames]]

    def _sorted(self, messages: list[Any], failure: Exception) -> Exception:
        """The error to raise: Unencodable, or `failure` if each message alone can be encoded."""
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
    """One call or item exceeds a limit of the reader and was not decoded.

    `of`: the message, without its arguments or value.
    """

    def __init__(self, of: Call | Notify | Item, what: str) -> None:
        whose = "an item has" if type(of) is Item else "the arguments have"
        super().__init__(f"{whose} {what}")
        self.of = of


class _CallHead(Struct, array_like=True, tag=3):
    """The fields of a Call that are read if it exceeds a limit."""

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
    """Decodes frames to messages.

    `values` decodes their values, until the next batch. `max_elements`: maximum values, keys, lists
    and maps in one batch, which take up to 80 times as much memory once they are decoded. `wary`:
    check the keys of maps, as in Unpacker.
    """

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
        # A batch of at most this many bytes cannot exceed a limit, and is not checked.
        self._long = min(_SHORTEST * max_messages, max_elements)
        self.values = Unpacker(wary=wary)
        self._decode = msgspec.msgpack.Decoder(list[kind]).decode

    def decode(self, frames: Sequence[Buffer]) -> list[M]:
        """The messages of one batch. `frames`: the first is bytes, the others are any buffers.

        Raises ProtocolError, which says what is wrong with the batch, or TooMuch if one call or
        item exceeds a limit.
        """
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
        """Check a long batch against the limits before it is decoded. Raises ProtocolError."""
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
        return f"the peer speaks version {first[3]} of the protocol, this end version {VERSION}"
    return "this is not ringback's protocol (wrong magic)"


def from_client(**bounds: Any) -> Decoder[FromClient]:
    """The decoder of a server, with the limits of `Decoder`."""
    return Decoder(FromClient, **bounds, wary=True)


def from_server() -> Decoder[FromServer]:
    """The decoder of a client."""
    return Decoder(FromServer)
