"""What `ringback.current_call()` tells in a test that calls a handler as a function."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ..context import CurrentCall
from ..errors import UsageError
from ..handling import Handling, handling
from ..state import State, open_state


class _Call(Handling):
    """A call that no server handles."""

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
    """Inside, `ringback.current_call()` has these attributes, and nested calls inherit the `deadline`, which is on the clock of
    `time.monotonic()`, in seconds. `state` may be the URL of a store, such as `memory://`, which is closed at the end. Raises UsageError.

    It is for the thread, task or greenlet that enters it, and for what these start in a copy of their context."""
    if not (state is None or isinstance(state, (State, str))):
        raise UsageError(f"state must be a State or the URL of one, not {state!r}")
    opened = open_state(state) if isinstance(state, str) else state
    told = CurrentCall(method, deadline, dict(metadata or {}), peer, priority, app, opened, user=user)
    token = handling.set(_Call(told))
    try:
        yield told
    finally:
        handling.reset(token)
        if opened is not None and opened is not state:
            opened.close()
