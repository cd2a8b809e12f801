"""Checks the results of a handler against its return annotation."""

from __future__ import annotations

import typing
from collections.abc import Coroutine, Generator
from typing import Any

import msgspec
from msgspec import Raw

from ...errors import RemoteError, UsageError, described
from ...protocol.models import unmet
from ...protocol.values import Unpacker, typed_decoder, whole


def result_type(returns: Any, *, is_stream: bool) -> Any:
    """The type of the result, or of a stream's item, for a return annotation.

    For a future or an awaitable, that is the type of its value.
    """
    origin = typing.get_origin(returns) or returns
    arguments = typing.get_args(returns)
    if not is_stream and not (hasattr(origin, "__await__") or hasattr(origin, "add_done_callback")):
        return returns
    if not arguments:
        return Any
    return arguments[-1] if origin in (Coroutine, Generator) and not is_stream else arguments[0]


class ResultCheck:
    """Checks one method's results. Raises UsageError for an annotation that no value can meet."""

    def __init__(self, name: str, returns: Any, *, is_stream: bool) -> None:
        self._name = name
        self._kind = result_type(returns, is_stream=is_stream)
        self._what = "an item" if is_stream else "the result"
        try:
            typed_decoder(self._kind)
            why = unmet(self._kind)
        except TypeError as error:
            why = str(error)
        if why:
            raise UsageError(
                f"check_results: {self._what} of method {name!r} cannot be checked: {why}"
            )

    def __call__(self, packed: Any) -> None:
        """Check a packed result. Raises only RemoteError, for a value of another type."""
        if self._kind is Any:
            return
        try:
            Unpacker().typed(Raw(whole(packed)), self._kind)
        except msgspec.ValidationError as error:
            raise self._wrong(error) from None
        except msgspec.DecodeError:
            pass  # such as a map with maps as keys under an annotation of Any
        except BaseException as error:  # a user's own type may raise anything
            raise self._wrong(error) from None

    def _wrong(self, error: BaseException) -> RemoteError:
        text = f"{self._what} of {self._name} does not match its annotation: {described(error)}"
        return RemoteError("TypeError", text)
