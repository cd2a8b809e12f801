"""How calls are made: the timeout and all else that `client.options` takes."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from ..protocol.calls import CallSettings, milliseconds
from ..protocol.messages import CallOptions
from ..protocol.values import UNPACKABLE
from ..protocol.versions import Versions

if TYPE_CHECKING:
    from ..state.cache import Cache


class Options(CallSettings):
    """How calls are made; `Client.options` documents each."""

    __slots__ = (
        "affinity",
        "cache",
        "hedge",
        "idempotency_key",
        "metadata",
        "milliseconds",
        "options",
        "plans",
        "priority",
        "session",
    )

    def __init__(self, timeout: float | None) -> None:
        super().__init__(timeout)
        self.milliseconds: int | None = None  # the timeout as a message says it
        self.priority = 0
        self.idempotency_key: str | None = None
        self.metadata: dict[str, Any] = {}
        self.cache: Cache | None = None
        self.affinity: str | None = None
        self.hedge = False
        self.session: bool | Versions | None = None
        self.plans = False  # whether the choice of a server has to know one of these three
        self.options: CallOptions | None = None  # what of these travels with each call

    def merged(self, changes: Mapping[str, Any]) -> Options:
        new = copy.copy(self)
        for name, value in changes.items():
            if name not in _CHECKS:
                raise TypeError(f"there is no option {name!r}: the options are {', '.join(_CHECKS)}")
            if not _CHECKS[name](value):
                raise TypeError(f"bad value for option {name!r}: {value!r}")
            if name == "metadata":
                value = {**self.metadata, **value}
            elif name == "cache" and value is not None:
                from ..state.cache import cache_of  # few clients need it

                value = cache_of(value)
            elif name == "session":
                value = Versions(value) if isinstance(value, Mapping) else (True if value else None)
            setattr(new, name, value)
        new.plans = new.affinity is not None or new.hedge or new.session is not None
        new.milliseconds = None if new.timeout is None else milliseconds(new.timeout)
        new.options = None
        if new.metadata or new.priority or new.idempotency_key is not None:
            new.options = CallOptions(new.metadata, new.priority, new.idempotency_key)
            try:
                msgspec.msgpack.encode(new.options)
            except UNPACKABLE as error:
                raise TypeError(f"the metadata cannot be sent: {error}") from None
        return new


def _is_timeout(value: Any) -> bool:
    return value is None or (isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0)


def _is_versions(value: Any) -> bool:
    return isinstance(value, Mapping) and all(
        isinstance(name, str) and type(version) is int and version >= 0 for name, version in value.items()
    )


_CHECKS: dict[str, Callable[[Any], bool]] = {
    "timeout": _is_timeout,
    "priority": lambda value: isinstance(value, int),
    "idempotency_key": lambda value: value is None or (isinstance(value, str) and 0 < len(value) <= 255),
    "metadata": lambda value: isinstance(value, Mapping) and all(isinstance(key, str) for key in value),
    "returns": lambda value: True,  # noqa: ARG005
    "wait_for_ready": lambda value: isinstance(value, bool),
    "cache": lambda value: True,  # noqa: ARG005 - `cache_of` has the words for what is none
    "affinity": lambda value: value is None or isinstance(value, str),
    "hedge": lambda value: isinstance(value, bool),
    "session": lambda value: value is None or isinstance(value, bool) or _is_versions(value),
    "attempts": lambda value: type(value) is int and value >= 1,
}
