"""The call that is being handled, as calls made inside it inherit from it.

Set by the server around each handler, read by `ringback.current_call()` and by every client when it makes a call.

For an inline handler, which is over in a microsecond, the server sets no more than the call's message in `handling`, and once for all calls
of a batch what else there is to tell in `batch`. `handled` makes a Handling of both for those who ask.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any


class Handling:
    """What the server puts in the context: `deadline` is read by every nested call, `current` builds the rest when asked.

    `versions`: those that the caller has seen and those learned since, by service, which nested calls pass on; None where the caller has
    not asked for them. It grows while the call is handled, perhaps in another thread: read a copy of it.
    """

    __slots__ = ()
    deadline: float | None
    versions: dict[str, int] | None = None

    def saw(self, versions: Mapping[str, int]) -> None:
        """The answer to a nested call brought these: the highest of each are kept for the caller, if it has asked. From any thread."""

    def current(self) -> Any:
        """The `CurrentCall`."""
        raise NotImplementedError


class HandledBatch:
    """What the inline calls of one batch have in common."""

    __slots__ = ()

    def handling(self, message: Any) -> Handling:
        """Of the call with that message."""
        raise NotImplementedError


# A Handling, or the message of an inline call.
handling: ContextVar[Any] = ContextVar("ringback.handling", default=None)
batch: ContextVar[HandledBatch] = ContextVar("ringback.batch")


def handled() -> Handling | None:
    """The call that is being handled here; None outside a handler."""
    call = handling.get()
    return call if call is None or isinstance(call, Handling) else batch.get().handling(call)
