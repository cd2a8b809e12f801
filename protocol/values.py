"""Values between Python and MessagePack, by msgspec and three extensions of ringback's.

Extension 1 refers to bytes that travel uncopied in a frame of their own. Extension 2 is an integer
of more than 64 bits. Extension 3 marks an argument as a stream, whose items follow.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import Any, cast

import msgspec
from msgspec import Raw
from msgspec.msgpack import Ext

from ..errors import ResourceExhausted
from .bounds import FRAME_BYTES
from .collisions import BIG_INTEGER, Chosen, keys_chosen, looked_at
from .decimals import check_for
from .messages import CallOptions
from .models import construct, dumped
from .order import ordered

# Any object that holds the bytes of a frame: bytes, or the transport's own buffer.
Buffer = Any

FRAME = 1
# The packed form of a stream argument.
STREAM = Ext(3, b"")

INT64_MIN, UINT64_MAX = -(1 << 63), (1 << 64) - 1
# Types that msgspec need not convert if the annotation asks for them, as MessagePack has them.
_BUILTIN = (bytes, bytearray, memoryview)
_BUFFERS = frozenset(_BUILTIN)
_SCALARS = frozenset({type(None), bool, int, float})

# The packed arguments of a call without arguments.
NOTHING = Raw(b"\x90")

# All encodings of a stream argument.
_STREAMS = frozenset([b"\xc7\0\3", b"\xc8\0\0\3", b"\xc9\0\0\0\0\3"])

# Codes in a buffer's format (PEP 3118, struct) that are memory addresses of this process. Field
# names are between colons.
_ADDRESSES = re.compile(r"[OPXz&]|Z(?![fdg])")
_NAMES = re.compile(r":[^:]*:")


def _buffer(value: Any) -> Any:
    """Encode a value that msgspec does not know: a buffer (a NumPy array) or a pydantic model."""
    try:
        view = memoryview(value)
    except TypeError:
        view = None
    if view is None or not view.ndim:  # NumPy's scalars are buffers too
        return dumped(value)
    _check_format(view, value)
    if view.nbytes >= FRAME_BYTES:
        raise OverflowError("the value needs a frame of its own")
    return view if view.c_contiguous else view.tobytes()


def _check_format(view: memoryview, value: Any) -> None:
    """Raises TypeError for a buffer of memory addresses, which mean nothing to other processes."""
    if _ADDRESSES.search(_NAMES.sub("", view.format)):
        raise TypeError(
            f"the {type(value).__name__} has format {view.format!r}: memory addresses, not values"
        )


_encode = msgspec.msgpack.Encoder(enc_hook=_buffer).encode
# Returns the data as they are, if they are exactly one value.
_decode_raw = msgspec.msgpack.Decoder(Raw).decode
_encode_whole = msgspec.msgpack.Encoder(enc_hook=lambda value: value.data).encode


def is_stream(raw: Raw) -> bool:
    """Whether a packed argument is a stream."""
    return len(raw) < 8 and bytes(raw) in _STREAMS


class Frame:
    """Bytes that will get a frame of their own. The codec numbers it when it fills a batch."""

    __slots__ = ("data",)

    def __init__(self, data: bytes | memoryview) -> None:
        self.data = data


def pack(value: Any, limit: int) -> Raw:
    """Pack the value for a message. Later changes of the value are not sent.

    An immutable value that surely encodes is returned unchanged, which saves a step on the hot
    path; the annotation says Raw because a message holds that. Raises ResourceExhausted for a value
    of more than `limit` bytes, and any other error for a value that cannot be sent, including
    errors that its own class raises.
    """
    kind = type(value)
    if (
        value is None
        or kind is bool
        or kind is float
        or (kind is bytes and len(value) < FRAME_BYTES)
        or (kind is str and value.isascii() and len(value) < FRAME_BYTES)
        or (kind is int and INT64_MIN <= value <= UINT64_MAX)
    ):
        return cast(Raw, value)
    return pack_any(value, limit)


def pack_any(value: Any, limit: int) -> Raw:
    """As `pack`, without the fast path."""
    return _measured(_extend(value), limit) if _is_large(value) else _packed(value, limit)


def pack_args(args: tuple[Any, ...], limit: int) -> Raw:
    """As `pack_any`, for the arguments of a call."""
    if any(type(value) in _BUFFERS and _is_large(value) for value in args):
        return _measured(_extend(args), limit)
    return _packed(args, limit)


def _packed(value: Any, limit: int) -> Raw:
    """Pack a value that is likely small: encode it at once.

    A value that turns out to be large is packed part by part. The result is checked, as the value
    may contain a Raw with invalid data.
    """
    try:
        data = _encode(value)
    except OverflowError:
        pass
    else:
        if len(data) < FRAME_BYTES:
            return _decode_raw(data)
    return _measured(_extend(value), limit)


def pack_together(values: list[Any], most: int) -> Raw | None:
    """Pack many values as one array of at most `most` bytes.

    Returns None if the array is larger, or if some value has to be packed by itself.
    """
    try:
        data = _encode(values)
    except Exception:
        return None
    return _decode_raw(data) if len(data) <= most else None


def whole(packed: Any) -> bytes:
    """A packed value as one piece of MessagePack, with its large bytes inside."""
    data: bytes = _encode_whole(packed)
    return data


def size(packed: Any) -> int:
    """Bytes of a packed value on the wire, including frames of its own. A scalar counts as 9."""
    kind = type(packed)
    if kind is Raw:
        return len(packed)
    if kind is Frame:
        return len(packed.data)
    if kind in _SCALARS:
        return 9
    if kind is not list and kind is not dict:
        return len(_encode(packed))
    beside: list[int] = []
    return len(_measurer(beside)(packed)) + sum(beside)


def size_of_arguments(args: Any, kwargs: dict[str, Any] | None) -> int:
    """Bytes of all packed arguments of one call."""
    return size(args) + (sum(map(size, kwargs.values())) if kwargs else 0)


def key_of(args: Any, kwargs: dict[str, Any] | None) -> bytes | None:
    """A key that identifies these packed arguments; None if one has a frame of its own.

    The order of named arguments and of map entries does not matter.
    """
    try:
        named = ordered(msgspec.msgpack.encode(sorted(kwargs.items()))) if kwargs else b""
        return ordered(msgspec.msgpack.encode(args)) + named
    except Exception:
        return None


def _measured(extended: Any, limit: int) -> Raw:
    """The extended value, encoded if no part of it needs a frame. Raises ResourceExhausted."""
    beside: list[int] = []
    if isinstance(extended, Frame):
        total = len(extended.data)
    else:
        data = _decode_raw(_measurer(beside)(extended))
        total = len(data) + sum(beside)
        if not beside:
            extended = data
    if total > limit:
        raise ResourceExhausted(f"a value of {total:,} bytes is over the limit of {limit:,}")
    return cast(Raw, extended)


def _measurer(beside: list[int]) -> Callable[[Any], bytes]:
    """An encoder that appends the lengths of byte strings in frames of their own to `beside`."""

    def note(frame: Any) -> Ext:
        if type(frame) is not Frame:
            raise TypeError(f"Encoding objects of type {type(frame).__name__} is unsupported")
        beside.append(len(frame.data))
        return Ext(FRAME, b"\0\0")

    return msgspec.msgpack.Encoder(enc_hook=note).encode


def _is_large(value: Any) -> bool:
    if isinstance(value, (bytes, bytearray)):
        return len(value) >= FRAME_BYTES
    if not isinstance(value, memoryview):
        return False
    _check_format(value, value)
    return value.nbytes >= FRAME_BYTES


def _frozen(value: Any) -> bytes | memoryview:
    """The current bytes of a buffer; uncopied if it is bytes or a read-only view."""
    if type(value) is bytes:
        return value
    view = memoryview(value)
    _check_format(view, value)
    if view.readonly and view.c_contiguous:
        try:
            return view.cast("B")
        except ValueError:  # such as a view of records
            pass
    return view.tobytes()


def _extend(value: Any) -> Any:
    """The value with large bytes as Frames and large integers as extensions; copies containers."""
    if value is None or isinstance(value, (bool, float)):
        return value
    if isinstance(value, str):
        value.encode()  # raises for lone surrogates
        return value
    if _is_large(value):
        return Frame(_frozen(value))
    if isinstance(value, int):
        if INT64_MIN <= value <= UINT64_MAX:
            return value
        return Ext(BIG_INTEGER, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))
    if isinstance(value, (list, tuple, set, frozenset)) and not hasattr(value, "__struct_fields__"):
        return [_extend(item) for item in value]
    if isinstance(value, dict):
        _encode(dict.fromkeys(value))  # raises for keys that cannot be sent
        return {key: _extend(item) for key, item in value.items()}
    try:
        return Raw(_encode(value))
    except OverflowError:
        pass
    try:
        return Frame(_frozen(value))
    except TypeError:
        return _extend(
            msgspec.to_builtins(value, builtin_types=_BUILTIN, str_keys=False, enc_hook=dumped)
        )


def decode_metadata(options: CallOptions) -> None:
    """Decode a received call's metadata, in place. Raises the errors of `plain`."""
    options.metadata = {name: _decode_metadata(value) for name, value in options.metadata.items()}


_decode_metadata = looked_at(msgspec.msgpack.Decoder().decode)


class Unpacker:
    """Decodes values, given the frames of their batch.

    If `wary`, it first checks the keys of maps (`collisions.py`) whose types no annotation gives.
    """

    def __init__(self, *, wary: bool = False) -> None:
        self.frames: Sequence[Buffer] = ()  # frames of the current batch
        self._copies: dict[int, bytes] = {}  # copies of frames, made on first use
        self.taken = 0  # bytes of frames in decoded values; the reader resets it
        self.limit = math.inf  # maximum of `taken` for one value, which may use a frame repeatedly
        self.streamed = False  # whether an argument was a stream; the reader resets it
        self._wary = wary
        self._decode_chosen = msgspec.msgpack.Decoder(ext_hook=self._extension).decode
        self.decode: Callable[[Raw], Any] = self._decode_chosen  # as plain data
        self._decode_uncopied: Callable[[Raw], Any] = msgspec.msgpack.Decoder(
            ext_hook=self._uncopied
        ).decode
        if wary:
            self.decode = looked_at(self.decode)
            self._decode_uncopied = looked_at(self._decode_uncopied)
        self._typed: dict[Any, Callable[[Raw], Any]] = {}

    def begin(self, frames: Sequence[Buffer]) -> None:
        """Begin another batch, with these frames."""
        self.frames = frames
        if self._copies:
            self._copies = {}

    def plain(self, raw: Raw, keys: Chosen = Chosen.BY_SENDER) -> Any:
        """Decode as plain data.

        `keys`: who chose the types of the keys in an earlier decoding of the value. Raises
        msgspec.DecodeError or ProtocolValueError for an invalid value.
        """
        return self._decode_chosen(raw) if keys is Chosen.BY_AUTHOR else self.decode(raw)

    def typed(self, raw: Raw, kind: Any) -> Any:
        """Decode as that type. Raises msgspec.ValidationError with the expected and found types."""
        if kind is Any:
            return self.decode(raw)
        try:
            decode = self._typed[kind]
        except KeyError:
            decode = self._typed[kind] = self._decoder(kind)
        except TypeError:  # unhashable
            decode = self._decoder(kind)
        try:
            return decode(raw)
        except msgspec.ValidationError:
            return self.converted(raw, kind)

    def _decoder(self, kind: Any) -> Callable[[Raw], Any]:
        decode = typed_decoder(kind)
        return looked_at(decode) if self._wary and keys_chosen(kind) is Chosen.BY_SENDER else decode

    def converted(self, raw: Raw, kind: Any) -> Any:
        """Decode as plain data, then convert. Only the plain decoder can read extensions."""
        decode = self._decode_uncopied if kind is memoryview else self.decode
        if self._wary and keys_chosen(kind) is Chosen.BY_AUTHOR:
            decode = self._decode_chosen
        value = decode(raw)
        check = check_for(kind)
        if check is not None:
            check(value)
        return msgspec.convert(value, kind, builtin_types=_BUILTIN, dec_hook=construct)

    def _extension(self, code: int, data: memoryview) -> Any:
        if code == FRAME:
            number, frame = self._frame(data)
            copy = self._copies.get(number)
            if copy is None:  # one copy for all references
                copy = self._copies[number] = bytes(frame)
            return copy
        if code == BIG_INTEGER:
            return int.from_bytes(data, "big", signed=True)
        return Ext(code, bytes(data))

    def _uncopied(self, code: int, data: memoryview) -> Any:
        """Decode an extension; a frame becomes a view that keeps the received memory alive."""
        if code == FRAME:
            return memoryview(self._frame(data)[1]).toreadonly()
        return self._extension(code, data)

    def _frame(self, data: memoryview) -> tuple[int, Buffer]:
        number = int.from_bytes(data[:8], "big")
        if len(data) > 2 or number >= len(self.frames):
            raise msgspec.DecodeError(f"a value refers to frame {number}, which does not exist")
        frame = self.frames[number]
        self.taken += len(frame)
        if self.taken > self.limit:
            raise msgspec.DecodeError(
                f"a value with its frames takes more than {self.limit:,} bytes"
            )
        return number, frame


def typed_decoder(kind: Any) -> Callable[[Raw], Any]:
    """A decoder of values of that type.

    The decoder raises ValidationError for values that do not fit, and for all values with
    extensions, which `Unpacker.converted` decodes; and any error that the user's own types raise.
    Raises TypeError for a type that cannot be recognized from its data.
    """
    decode: Callable[[Raw], Any] = msgspec.msgpack.Decoder(
        kind, ext_hook=_not_here, dec_hook=construct
    ).decode
    check = check_for(kind)
    if check is None:
        return decode

    def decode_exact(raw: Raw) -> Any:
        value = decode(raw)
        if _floats(raw):
            check(_decode_plain(raw))
        return value

    return decode_exact


# Finds a possible float in MessagePack data.
_floats = re.compile(rb"[\xca\xcb]").search


def _not_here(code: int, data: memoryview) -> Any:  # noqa: ARG001
    raise msgspec.ValidationError("an extension needs the frames of its batch")


_decode_plain = msgspec.msgpack.Decoder(ext_hook=_not_here).decode
