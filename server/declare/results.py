"""What a handler returns, checked against its annotation."""

from __future__ import annotations

import typing
from typing import Any

from msgspec import Raw, ValidationError

from ...errors import RemoteError, UsageError
from ...protocol.models import unmet
from ...protocol.values import Unpacker, typed_decoder, whole


class ResultCheck:
    """Of one method. Raises UsageError for an annotation that no value has."""

    def __init__(self, name: str, returns: Any, *, is_stream: bool) -> None:
        self._name = name
        origin = typing.get_origin(returns)
        arguments = typing.get_args(returns)
        if is_stream or (arguments and _is_future(origin)):
            returns = arguments[0] if arguments else Any
        try:
            typed_decoder(returns)
            what = unmet(returns)
        except TypeError as error:
            what = str(error)
        if what:
            raise UsageError(
                f"check_results: what method {name!r} returns cannot be checked as {returns}: {what}"
            )
        self._kind = returns
        self._what = "an item" if is_stream else "the result"

    def __call__(self, packed: Any) -> None:
        """Raises RemoteError for another value, packed as it is."""
        try:
            Unpacker().typed(Raw(whole(packed)), self._kind)
        except ValidationError as error:
            text = f"{self._what} of {self._name} is not what its annotation says: {error}"
            raise RemoteError("TypeError", text) from None


def _is_future(origin: Any) -> bool:
    """Whether a handler may return that in place of its result: a future, a Deferred, an awaitable."""
    return hasattr(origin, "__await__") or hasattr(origin, "add_done_callback")
