"""`ringback.current_call()` for tests that call a handler as a function."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ..context import CurrentCall
from ..errors import UsageError
from ..handling import Handling, handling
from ..state import State, open_state


class _Call(Handling):
    """A call without a server."""

    __slots__ = ("_told", "deadline")

    def __init__(self, told: CurrentCall) -> None:
        self._told = told
        self.deadline = told.deadline

    def current(self) -> CurrentCall:
        return self._told


@contextmanager
def call_context(
    *,
    method: str = "test",
    deadline: float | None = None,
    metadata: Mapping[str, Any] | None = None,
    peer: str = "test",
    priority: int = 0,
    app: Any = None,
    state: State | str | None = None,
    user: str = "",
) -> Iterator[CurrentCall]:
    """Set the attributes of `ringback.current_call()` inside the `with`.

    Nested calls inherit the `deadline`, in seconds of `time.monotonic()`. `state` may be the URL of
    a store, such as `memory://`, which is closed at the end. Raises UsageError.

    It applies to the thread, task or greenlet that enters it, and to those started in a copy of its
    context.
    """
    if not (state is None or isinstance(state, (State, str))):
        raise UsageError(f"state must be a State or a URL, not {state!r}")
    opened = open_state(state) if isinstance(state, str) else state
    told = CurrentCall(
        method, deadline, dict(metadata or {}), peer, priority, app, opened, user=user
    )
    token = handling.set(_Call(told))
    try:
        yield told
    finally:
        handling.reset(token)
        if opened is not None and opened is not state:
            opened.close()
