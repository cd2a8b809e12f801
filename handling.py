"""The call that is being handled, from which nested calls inherit.

The server sets it around each handler. `ringback.current_call()` reads it, and so does every client
when it makes a call.

An inline handler ends within a microsecond. For it, the server sets only the call's message in
`handling`, and the rest in `batch`, once for all calls of a batch. `handled` builds a Handling from
both on demand.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any


class Handling:
    """The server's entry in the context: every nested call reads `deadline`; `current` builds the
    rest.

    `versions` holds data versions by service: those the caller has seen and those learned since,
    which nested calls pass on. None if the caller has not asked for them. It grows while the call
    is handled, perhaps in another thread: read a copy of it.
    """

    __slots__ = ()
    deadline: float | None
    versions: dict[str, int] | None = None

    def saw(self, versions: Mapping[str, int]) -> None:
        """Merge the versions of a nested call's reply, keeping the highest of each service.

        Does nothing if the caller has not asked for versions. Thread-safe.
        """

    def current(self) -> Any:
        """The `CurrentCall`."""
        raise NotImplementedError


class HandledBatch:
    """The data that all inline calls of one batch share."""

    __slots__ = ()

    def handling(self, message: Any) -> Handling:
        """The Handling of the call with that message."""
        raise NotImplementedError


# A Handling, or the message of an inline call.
handling: ContextVar[Any] = ContextVar("ringback.handling", default=None)
batch: ContextVar[HandledBatch] = ContextVar("ringback.batch")


def handled() -> Handling | None:
    """The call that is being handled here. None outside a handler."""
    call = handling.get()
    return call if call is None or isinstance(call, Handling) else batch.get().handling(call)
