"""The outcomes of many calls that were sent in one message."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import msgspec
from msgspec import Raw

from ... import errors
from ...protocol.messages import Call, Failure, Mapped
from ...protocol.values import Unpacker
from .links import Link
from .unreadable import check_cut, unreadable

_decode_list = msgspec.msgpack.Decoder(list[Raw]).decode
_MISSING: Any = object()


class NotTaken(Exception):
    """The server does not take such a message: send its calls one by one."""


class MapOutcomes:
    """The outcomes of one Map, in order: results, and the errors of failed calls.
    `left` are still missing."""

    __slots__ = ("earlier", "left", "more", "outcomes")

    def __init__(self, count: int) -> None:
        self.outcomes: list[Any] = [_MISSING] * count
        self.earlier = self.outcomes  # from servers that were lost before they had sent all
        self.left = count
        self.more = count - 1  # calls that it counts for, beyond one

    def fits(self, link: Link, message: Call) -> bool:
        """Whether the server takes this number of calls and bytes in one message."""
        return len(self.outcomes) <= link.max_mapped and (
            link.limit is None or len(message.args) <= link.limit
        )

    def begin_again(self) -> None:
        """The message goes to another server, which sends all outcomes anew."""
        if self.left < len(self.outcomes):
            self.earlier = self._known()
            self.left = len(self.outcomes)
            self.outcomes = [_MISSING] * self.left

    def told(self) -> dict[int, Any]:
        """The outcomes received so far, from any server, each with its index."""
        return {place: one for place, one in enumerate(self._known()) if one is not _MISSING}

    def _known(self) -> list[Any]:
        pairs = zip(self.outcomes, self.earlier, strict=True)
        return [earlier if one is _MISSING else one for one, earlier in pairs]

    def passes(self, _: Any, error: BaseException | None) -> tuple[Any, BaseException | None]:
        """The outcomes of the message.
        An error of the whole becomes that of each call without an outcome."""
        if type(error) is NotTaken:
            return None, error
        if self.left and error is None:
            error = errors.ProtocolError("the server ended a map before it had sent all results")
        if error is not None:
            self.outcomes = [error if one is _MISSING else one for one in self._known()]
        return self.outcomes, None

    def take(self, message: Mapped, values: Unpacker, method: str, kind: Any) -> bool:
        """Store the outcomes of a server's message, decoded as `kind`.
        Returns whether all have arrived. Raises ProtocolError for an invalid message."""
        first, outcomes, failures = message.first, self.outcomes, message.failures or {}
        results: Any = None
        if kind is Any and not failures:
            with suppress(Exception):  # then each is decoded by itself
                results = values.decode(message.results)
        try:
            if results is None:
                results = [
                    _error(failures[at]) if at in failures else _result(raw, values, method, kind)
                    for at, raw in enumerate(_decode_list(message.results), first)
                ]
        except Exception as error:
            text = f"{method}: the results cannot be read: {errors.described(error)}"
            raise errors.ProtocolError(text) from None
        if type(results) is not list or first < 0 or first + len(results) > len(outcomes):
            raise errors.ProtocolError(
                f"{method}: the server sent results that do not match the map"
            )
        end = first + len(results)
        if outcomes[first:end].count(_MISSING) != len(results):
            raise errors.ProtocolError(f"{method}: the server sent results twice")
        self.left -= len(results)
        outcomes[first:end] = results
        return not self.left


def _result(raw: Raw, values: Unpacker, method: str, kind: Any) -> Any:
    values.taken = 0
    try:
        return values.typed(raw, kind)
    except BaseException as error:  # the caller's own types may raise anything
        check_cut(kind, error)
        return unreadable(method, kind, error)


def _error(failure: Failure) -> errors.CallError:
    kind, started = failure.kind, failure.started
    if kind is None:
        return errors.from_wire(failure.code, "", failure.message, started)
    return errors.from_wire(failure.code, kind, failure.message)
