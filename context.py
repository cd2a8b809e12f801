"""The call that a handler is running: `current_call()` and `CurrentCall`."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from .errors import FailedPrecondition
from .handling import handled
from .state.store import State
from .state.transactions import Transaction


class CurrentCall:
    """The call that the current handler is running.

    - `method`: the method's name.
    - `deadline`: seconds of `time.monotonic()`; None if the caller set no limit.
    - `metadata`: the caller's `options(metadata=...)`.
    - `priority`: the priority that the caller asked for.
    - `peer`: the client's address and instance, or only its instance if there is no address.
    - `user`: name of the client's key, which the client has proved to hold; "" without CURVE, and
      where the server admits any key.
    - `app`: the value that the service's lifespan yielded.
    """

    __slots__ = (
        "_open",
        "_state",
        "_versions",
        "app",
        "deadline",
        "metadata",
        "method",
        "peer",
        "priority",
        "user",
    )

    def __init__(
        self,
        method: str,
        deadline: float | None,
        metadata: Mapping[str, Any],
        peer: str,
        priority: int,
        app: Any,
        state: State | None = None,
        open_transaction: Callable[[], Transaction] | None = None,
        versions: Mapping[str, int] | None = None,
        user: str = "",
    ) -> None:
        self.method = method
        self.deadline = deadline
        self.metadata = metadata
        self.peer = peer
        self.priority = priority
        self.app = app
        self._state = state
        self._open = open_transaction
        self._versions = versions
        self.user = user

    @property
    def state(self) -> State:
        """The server's state store. Raises FailedPrecondition if the server has none."""
        if self._state is None:
            raise FailedPrecondition(
                f"{self.method} has no state store: start the server with --state or state= "
                "(handlers in other processes cannot use it)"
            )
        return self._state

    @property
    def versions(self) -> Mapping[str, int] | None:
        """Data versions by service: those the caller and nested calls have seen.

        The reply reports them to the caller. None if the caller has not asked for versions.
        """
        return None if self._versions is None else MappingProxyType(self._versions)

    @property
    def transaction(self) -> Transaction:
        """The transaction of a method with `once=True`.

        It commits together with the outcome of the key when the handler has returned, so the writes
        take effect exactly once. The handler may run again if it was interrupted or overtaken, so
        its only side effects must be writes through this transaction. Raises FailedPrecondition for
        other methods.
        """
        if self._open is None:
            raise FailedPrecondition(
                f"{self.method} has no transaction: declare the method with once=True"
            )
        return self._open()

    def leave_process(self) -> None:
        """Remove the attributes that a handler in another process cannot use."""
        self.app = self._state = None

    def remaining(self) -> float | None:
        """Seconds left until the deadline, never below 0. None if there is no deadline."""
        return None if self.deadline is None else max(0.0, self.deadline - time.monotonic())

    def __repr__(self) -> str:
        return f"<CurrentCall {self.method} from {self.peer}>"


def current_call() -> CurrentCall:
    """The call that this handler is running. Raises RuntimeError outside a handler."""
    now = handled()
    if now is None:
        raise RuntimeError(
            "ringback.current_call() was called outside a handler: call the method through a "
            "server, or run the thread or greenlet in a copy of the handler's context "
            "(contextvars.copy_context())"
        )
    call: CurrentCall = now.current()
    return call
