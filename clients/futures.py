"""The future of a call fired by the blocking client: a `concurrent.futures.Future` that costs little where nobody waits for it."""

from __future__ import annotations

import concurrent.futures
import logging
import threading
from collections.abc import Callable
from concurrent.futures._base import FINISHED, PENDING
from typing import Any, Protocol

log = logging.getLogger("ringback.client")


class Owner(Protocol):
    """What the future asks of its client."""

    def cancel_fired(self, call: Any) -> bool: ...

    def post_now(self, method: str, function: Callable[[Any], object], argument: Any) -> None: ...


class CallFuture(concurrent.futures.Future[Any]):
    """The outcome of a fired call. Cancelling it cancels the call; its done-callbacks run where callbacks run.

    The condition to wait on is a third of what a fired call costs, and most are never waited for: it is made by the first
    who asks for it.
    """

    observed = False

    def __init__(self, owner: Owner, call: Any) -> None:
        # In place of Future.__init__: the same attributes, but for `_condition`.
        self._state = PENDING
        self._result = None
        self._exception = None
        self._waiters: list[Any] = []
        self._done_callbacks: list[Any] = []
        self._owner = owner
        self._call = call

    @property
    def _condition(self) -> threading.Condition:  # type: ignore[override]
        made: threading.Condition = self.__dict__.setdefault("_made", threading.Condition())  # atomic
        return made

    def settle(self, result: Any, error: BaseException | None) -> None:
        """`set_result` or `set_exception`, by the one thread that does; without the condition where nobody has asked for it."""
        self._result = result
        self._exception = error
        self._state = (
            FINISHED  # from here on whoever asks for the condition sees that there is nothing to wait for
        )
        if "_made" in self.__dict__:
            with self._condition:
                for waiter in self._waiters:
                    if error is None:
                        waiter.add_result(self)
                    else:
                        waiter.add_exception(self)
                self._condition.notify_all()
            self._invoke_callbacks()  # type: ignore[attr-defined]

    def cancel(self) -> bool:
        return self._owner.cancel_fired(self._call) and super().cancel()

    def result(self, timeout: float | None = None) -> Any:
        self.observed = True
        return super().result(timeout)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        self.observed = True
        return super().exception(timeout)

    def add_done_callback(self, fn: Callable[[Any], object]) -> None:
        self.observed = True
        super().add_done_callback(lambda future: self._owner.post_now(self._call.method, fn, future))

    def __del__(self) -> None:
        if self._exception is not None and not self.observed:
            log.error("%s failed, and nobody looked: %r", self._call.method, self._exception)
