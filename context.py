"""What a handler may ask about the call that it answers."""

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
    """The call a handler is answering.

    `deadline` is in seconds of `time.monotonic()`, None where the caller set no limit; `metadata` is what the caller gave
    with `options(metadata=...)`; `peer` names the client's address and instance, or only its instance where there is no address;
    `user` is the name of the client's key, which it has proved to have ("" without CURVE, and where any key is let in);
    `app` is what the service's lifespan yielded.
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
        """The store that the server was given. Raises FailedPrecondition where there is none."""
        if self._state is None:
            raise FailedPrecondition(
                f"{self.method} has no state store: a server is given one by --state or state=, and handlers in other processes have none"
            )
        return self._state

    @property
    def versions(self) -> Mapping[str, int] | None:
        """The versions that the caller has seen, by service, and those that calls made by this handler have brought since: what the caller
        is told with the answer. None where the caller has not asked for them."""
        return None if self._versions is None else MappingProxyType(self._versions)

    @property
    def transaction(self) -> Transaction:
        """What a method with `once=True` writes through: committed with the key's outcome when the handler has returned, so that all is
        done exactly once. Such a handler may be run again where it was cut or overtaken: it does nothing but through its transaction."""
        if self._open is None:
            raise FailedPrecondition(f"{self.method} has no transaction: that is for methods with once=True")
        return self._open()

    def leave_process(self) -> None:
        """Become what a handler in another process may ask."""
        self.app = self._state = None

    def remaining(self) -> float | None:
        """Seconds left until the deadline, never below 0; None where there is no deadline."""
        return None if self.deadline is None else max(0.0, self.deadline - time.monotonic())

    def __repr__(self) -> str:
        return f"<CurrentCall {self.method} from {self.peer}>"


def current_call() -> CurrentCall:
    """The call that is being handled here. Raises RuntimeError outside a handler."""
    now = handled()
    if now is None:
        raise RuntimeError(
            "ringback.current_call() was called outside a handler, where there is no call: call the method through a "
            "server, or run the thread or greenlet that asks in a copy of the handler's context (contextvars.copy_context())"
        )
    call: CurrentCall = now.current()
    return call
