"""Values between Python and MessagePack: what msgspec does, and the three extensions that ringback adds.

Extension 1 stands for bytes that travel uncopied in a frame of their own; extension 2 is an integer of more than 64 bits;
extension 3 says that an argument is a stream, whose items follow.
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

# What holds the bytes of a frame: bytes, or what the transport received them in.
Buffer = Any

FRAME = 1
# The argument itself, as it is packed.
STREAM = Ext(3, b"")

INT64_MIN, UINT64_MAX = -(1 << 63), (1 << 64) - 1
# Types that MessagePack has and msgspec need not convert, when the annotation asks for them.
_BUILTIN = (bytes, bytearray, memoryview)
_BUFFERS = frozenset(_BUILTIN)
_SCALARS = frozenset({type(None), bool, int, float})

# The arguments of a call that has none.
NOTHING = Raw(b"\x90")

# All ways to say that an argument is a stream.
_STREAMS = frozenset([b"\xc7\0\3", b"\xc8\0\0\3", b"\xc9\0\0\0\0\3"])

# What in the format of a buffer (PEP 3118, struct) is an address in this process's memory. Names of fields are between colons.
_ADDRESSES = re.compile(r"[OPXz&]|Z(?![fdg])")
_NAMES = re.compile(r":[^:]*:")


def _buffer(value: Any) -> Any:
    """What msgspec does not know may be a buffer, such as an array of NumPy's, or a model of pydantic's."""
    try:
        view = memoryview(value)
    except TypeError:
        view = None
    if view is None or not view.ndim:  # NumPy's scalars are buffers too
        return dumped(value)
    _check_format(view, value)
    if view.nbytes >= FRAME_BYTES:
        raise OverflowError("it is for a frame of its own")
    return view if view.c_contiguous else view.tobytes()


def _check_format(view: memoryview, value: Any) -> None:
    """Raises TypeError for a buffer whose bytes mean something in this process alone."""
    if _ADDRESSES.search(_NAMES.sub("", view.format)):
        raise TypeError(
            f"the {type(value).__name__} has format {view.format!r}: addresses of memory, not values"
        )


_encode = msgspec.msgpack.Encoder(enc_hook=_buffer).encode
# The same bytes, if they are one value.
_decode_raw = msgspec.msgpack.Decoder(Raw).decode
_encode_whole = msgspec.msgpack.Encoder(enc_hook=lambda value: value.data).encode


def is_stream(raw: Raw) -> bool:
    """Whether a packed argument says that it is a stream."""
    return len(raw) < 8 and bytes(raw) in _STREAMS


class Frame:
    """Bytes on their way to a frame of their own; the codec knows the number only when it fills a batch."""

    __slots__ = ("data",)

    def __init__(self, data: bytes | memoryview) -> None:
        self.data = data


def pack(value: Any, limit: int) -> Raw:
    """The value as it is now, ready for a message: later changes to it do not travel.

    What cannot change and surely encodes is returned as it is, which saves a step on the hot path; the annotation says Raw because
    that is what a message holds. Raises ResourceExhausted for a value of more than `limit` bytes, and anything else for one that
    cannot be sent: also what its own class raises when it is looked at.
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
    """`pack` without the short cut."""
    return _measured(_extend(value), limit) if _is_large(value) else _packed(value, limit)


def pack_args(args: tuple[Any, ...], limit: int) -> Raw:
    """`pack_any` for the arguments of a call."""
    if any(type(value) in _BUFFERS and _is_large(value) for value in args):
        return _measured(_extend(args), limit)
    return _packed(args, limit)


def _packed(value: Any, limit: int) -> Raw:
    """A value that is likely small is encoded at once; one that turns out to be large is looked at part by part. (There may be a Raw in
    it, of which it is not known whether it is a value.)"""
    try:
        data = _encode(value)
    except OverflowError:
        pass
    else:
        if len(data) < FRAME_BYTES:
            return _decode_raw(data)
    return _measured(_extend(value), limit)


def pack_together(values: list[Any], most: int) -> Raw | None:
    """Many values as one array of at most so many bytes; None where it would have more, or one of them has to be looked at by itself."""
    try:
        data = _encode(values)
    except Exception:
        return None
    return _decode_raw(data) if len(data) <= most else None


def whole(packed: Any) -> bytes:
    """A packed value as one piece of MessagePack, whose large bytes have no frames of their own."""
    data: bytes = _encode_whole(packed)
    return data


def size(packed: Any) -> int:
    """Bytes that a packed value takes on the wire, with those in frames of their own. (A scalar counts as the longest.)"""
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
    """Bytes that the packed arguments of one call take together."""
    return size(args) + (sum(map(size, kwargs.values())) if kwargs else 0)


def key_of(args: Any, kwargs: dict[str, Any] | None) -> bytes | None:
    """What tells these packed arguments from all others, whatever order the named ones came in, and the entries of maps; None where
    one is in a frame of its own."""
    try:
        named = ordered(msgspec.msgpack.encode(sorted(kwargs.items()))) if kwargs else b""
        return ordered(msgspec.msgpack.encode(args)) + named
    except Exception:
        return None


def _measured(extended: Any, limit: int) -> Raw:
    """The value, if it is within the limit; encoded already, where no part of it needs a frame."""
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
    """An encoder that notes the lengths of what would go in frames of their own."""

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
    """Bytes as they are now: uncopied where they cannot change, or where a read-only view says that they will not."""
    if type(value) is bytes:
        return value
    view = memoryview(value)
    _check_format(view, value)
    if view.readonly and view.c_contiguous:
        try:
            return view.cast("B")
        except ValueError:  # of records, say
            pass
    return view.tobytes()


def _extend(value: Any) -> Any:
    """The value with its large bytes as Frames and its large integers as extensions; containers are copied."""
    if value is None or isinstance(value, (bool, float)):
        return value
    if isinstance(value, str):
        value.encode()  # raises for what is no Unicode
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
        return _extend(msgspec.to_builtins(value, builtin_types=_BUILTIN, str_keys=False, enc_hook=dumped))


def decode_metadata(options: CallOptions) -> None:
    """Of a call that has come: in place, from what each value was sent as. Raises what `plain` raises."""
    options.metadata = {name: _decode_metadata(value) for name, value in options.metadata.items()}


_decode_metadata = looked_at(msgspec.msgpack.Decoder().decode)


class Unpacker:
    """Decodes values, given the frames of the batch they came in. One that is `wary` looks at the keys of maps first
    (`collisions.py`), where no annotation says of which kinds they are."""

    def __init__(self, *, wary: bool = False) -> None:
        self.frames: Sequence[Buffer] = ()  # those of the batch whose values are decoded
        self._copies: dict[int, bytes] = {}  # of the frames, as far as they were asked for
        self.taken = 0  # bytes of frames that values were made of; whoever asks sets it back
        self.limit = math.inf  # of these, for one value: it may refer to a frame often
        self.streamed = False  # whether an argument was a stream; set by who finds it, and back by who asks
        self._wary = wary
        self._decode_chosen = msgspec.msgpack.Decoder(ext_hook=self._extension).decode
        self.decode: Callable[[Raw], Any] = self._decode_chosen  # as plain data
        self._decode_uncopied: Callable[[Raw], Any] = msgspec.msgpack.Decoder(ext_hook=self._uncopied).decode
        if wary:
            self.decode = looked_at(self.decode)
            self._decode_uncopied = looked_at(self._decode_uncopied)
        self._typed: dict[Any, Callable[[Raw], Any]] = {}

    def begin(self, frames: Sequence[Buffer]) -> None:
        """Decode values of another batch from now on, which has these frames."""
        self.frames = frames
        if self._copies:
            self._copies = {}

    def plain(self, raw: Raw, keys: Chosen = Chosen.BY_SENDER) -> Any:
        """As plain data. `keys`: whose choice they were where the value was taken before. Raises msgspec.DecodeError or
        ProtocolValueError for what is not a value."""
        return self._decode_chosen(raw) if keys is Chosen.BY_AUTHOR else self.decode(raw)

    def typed(self, raw: Raw, kind: Any) -> Any:
        """As that type. Raises msgspec.ValidationError, which names what was expected and found."""
        if kind is Any:
            return self.decode(raw)
        try:
            decode = self._typed[kind]
        except KeyError:
            decode = self._typed[kind] = self._decoder(kind)
        except TypeError:  # it has no hash
            decode = self._decoder(kind)
        try:
            return decode(raw)
        except msgspec.ValidationError:
            return self.converted(raw, kind)

    def _decoder(self, kind: Any) -> Callable[[Raw], Any]:
        decode = typed_decoder(kind)
        return looked_at(decode) if self._wary and keys_chosen(kind) is Chosen.BY_SENDER else decode

    def converted(self, raw: Raw, kind: Any) -> Any:
        """The long way round: extensions mean something only to the plain decoder, so types are looked at after it."""
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
            if copy is None:  # once, however often it is referred to
                copy = self._copies[number] = bytes(frame)
            return copy
        if code == BIG_INTEGER:
            return int.from_bytes(data, "big", signed=True)
        return Ext(code, bytes(data))

    def _uncopied(self, code: int, data: memoryview) -> Any:
        """A frame as a view of the memory that it arrived in, which stays as long as the view."""
        if code == FRAME:
            return memoryview(self._frame(data)[1]).toreadonly()
        return self._extension(code, data)

    def _frame(self, data: memoryview) -> tuple[int, Buffer]:
        number = int.from_bytes(data[:8], "big")
        if len(data) > 2 or number >= len(self.frames):
            raise msgspec.DecodeError(f"a value refers to frame {number}, and there is none")
        frame = self.frames[number]
        self.taken += len(frame)
        if self.taken > self.limit:
            raise msgspec.DecodeError(f"with what it refers to, a value takes more than {self.limit:,} bytes")
        return number, frame


def typed_decoder(kind: Any) -> Callable[[Raw], Any]:
    """A decoder of values of that type. It raises ValidationError for values that do not fit, and for all with extensions, which
    are `Unpacker.converted`'s to read; and whatever the types of the user's own raise. Raises TypeError for a type that cannot be
    told from its data."""
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


# Whether there may be a float in MessagePack.
_floats = re.compile(rb"[\xca\xcb]").search


def _not_here(code: int, data: memoryview) -> Any:  # noqa: ARG001
    raise msgspec.ValidationError("an extension needs its batch")


_decode_plain = msgspec.msgpack.Decoder(ext_hook=_not_here).decode
