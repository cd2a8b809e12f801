"""How calls are made: the timeout and all else that `client.options` takes."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from .. import errors
from ..balancing.versions import Versions
from ..protocol.messages import CallOptions
from ..protocol.values import decode_metadata, typed_decoder
from .conversation.calls import CallSettings, milliseconds

if TYPE_CHECKING:
    from ..state.cache import Cache


class ClientOptions(CallSettings):
    """How calls are made; `Client.options` documents each."""

    __slots__ = (
        "affinity",
        "cache",
        "hedge",
        "idempotency_key",
        "metadata",
        "milliseconds",
        "options",
        "priority",
        "room",
        "session",
        "wishes",
    )

    def __init__(self, timeout: float | None, max_size: int) -> None:
        """`max_size`: bytes that arguments may take, with all that travels beside them."""
        super().__init__(timeout)
        self.room = max_size  # what of that is left for the arguments
        self.milliseconds: int | None = None  # the timeout as a message says it
        self.priority = 0
        self.idempotency_key: str | None = None
        self.metadata: dict[str, Any] = {}
        self.cache: Cache | None = None
        self.affinity: str | None = None
        self.hedge = False
        self.session: bool | Versions | None = None
        self.wishes = False  # whether the choice of a server has to know one of these three
        self.options: CallOptions | None = None  # what of these travels with each call

    def merged(self, changes: Mapping[str, Any]) -> ClientOptions:
        """These options with others. Raises TypeError for one that there is not, or that has a value which cannot be sent;
        ResourceExhausted for metadata that take more than a call may."""
        new = copy.copy(self)
        for name, value in changes.items():
            if name not in _OPTIONS:
                raise TypeError(f"there is no option {name!r}: the options are {', '.join(_OPTIONS)}")
            fits, wanted = _OPTIONS[name]
            if not fits(value):
                raise TypeError(f"bad value for option {name!r}: {wanted}, not {value!r:.200}")
            if name == "metadata":
                value = {**self.metadata, **value}
            elif name == "timeout" and value is not None and value > _LONGEST:
                value = None
            elif name == "cache" and value is not None:
                from ..state.cache import cache_of  # few clients need it

                value = cache_of(value)
            elif name == "session":
                value = Versions(value) if isinstance(value, Mapping) else (True if value else None)
            setattr(new, name, value)
        new.wishes = new.affinity is not None or new.hedge or new.session is not None
        new.milliseconds = None if new.timeout is None else milliseconds(new.timeout)
        new._travels(_size(self.options))
        return new

    def _travels(self, before: int) -> None:
        """Make what of these travels with each call, as it is now, and see that it can."""
        self.options = None
        if self.metadata or self.priority or self.idempotency_key is not None:
            options = CallOptions(self.metadata, self.priority, self.idempotency_key)
            try:
                self.options = _decode_options(msgspec.msgpack.encode(options))
                decode_metadata(self.options)
            except Exception as error:
                raise TypeError(f"the metadata cannot be sent: {errors.described(error)}") from None
        taken = _size(self.options)
        self.room += before - taken
        if self.room < 0:
            raise errors.ResourceExhausted(
                f"the metadata take {taken:,} bytes, and with them no call is within the limit of {self.room + taken:,}"
            )


_decode_options = msgspec.msgpack.Decoder(CallOptions).decode


def _size(options: CallOptions | None) -> int:
    return 0 if options is None else len(msgspec.msgpack.encode(options))


# Seconds above which a timeout is none: 30 years.
_LONGEST = 1e9


def seconds_to_close(timeout: float | None) -> float:
    """What a `close` waits at most, as each loop takes it: None and infinity are 30 years. Raises TypeError for what is no time."""
    if timeout is None:
        return _LONGEST
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or timeout != timeout:
        raise TypeError(f"bad timeout to close: seconds, or None for no limit, not {timeout!r:.200}")
    return min(max(0.0, timeout), _LONGEST)


_INT64 = range(-(1 << 63), 1 << 63)


def _is_timeout(value: Any) -> bool:
    return value is None or (isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0)


def _is_text(value: Any) -> bool:
    """Whether it is a string that can be sent."""
    return type(value) is str and not any("\ud800" <= letter <= "\udfff" for letter in value)


def _is_versions(value: Any) -> bool:
    return isinstance(value, Mapping) and all(
        _is_text(name) and type(version) is int and 0 <= version < _INT64.stop
        for name, version in value.items()
    )


def _is_type(value: Any) -> bool:
    try:
        return value is Any or callable(typed_decoder(value))
    except Exception:
        return False


# Of each option: whether a value is one, and what it has to be.
_OPTIONS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "timeout": (_is_timeout, "seconds from 0 on, or None for no limit"),
    "priority": (lambda value: type(value) is int and value in _INT64, "an integer of 64 bits"),
    "idempotency_key": (
        lambda value: value is None or (_is_text(value) and 0 < len(value) <= 255),
        "a string of 1 to 255 characters, or None",
    ),
    "metadata": (
        lambda value: isinstance(value, Mapping) and all(map(_is_text, value)),
        "a mapping of strings to values",
    ),
    "returns": (_is_type, "a type that values can be decoded as"),
    "wait_for_ready": (lambda value: isinstance(value, bool), "True or False"),
    "cache": (lambda value: True, ""),  # noqa: ARG005 - `cache_of` has the words for what is none
    "affinity": (lambda value: value is None or isinstance(value, str), "a string, or None"),
    "hedge": (lambda value: isinstance(value, bool), "True or False"),
    "session": (
        lambda value: value is None or isinstance(value, bool) or _is_versions(value),
        "True, False, or the versions of another client",
    ),
    "attempts": (lambda value: type(value) is int and value >= 1, "an integer from 1 on"),
}
