"""The fired call of the blocking client: it is its own `concurrent.futures.Future`.

It is cheap if no thread waits for it.
"""

from __future__ import annotations

import concurrent.futures
import threading
from collections.abc import Callable
from concurrent.futures._base import FINISHED, PENDING
from contextlib import suppress
from typing import Any

from ... import errors
from ...backends.blocking import ENTERED
from ...protocol.messages import Call
from ...runtime import forks
from ..calls.fired import FiredCall
from ..connections.core import ClientCore
from ..conversation.calls import ENDED, NEW, CallSettings
from .running import in_context
from .unseen import unseen

_making = forks.freed(threading.Lock())


class FiredFuture(FiredCall, concurrent.futures.Future[Any]):
    """The outcome of a fired call.
    Cancelling it cancels the call; its done-callbacks run where callbacks run.

    `Future.__init__` makes, above all, a condition to wait on: a third of the cost of a fired call.
    Most futures are never waited for, so the first use makes it here. Every attribute has a slot,
    and a Future's dictionary stays empty: CPython 3.11 crashes when such dictionaries get their
    keys in many orders.
    """

    __slots__ = (
        "_done_callbacks",
        "_exception",
        "_lament",
        "_made",
        "_result",
        "_sleepers",
        "_state",
        "_waiters",
        "observed",
    )
    _lament: _Lament | None
    _made: threading.Condition | None

    def __init__(
        self, message: Call, settings: CallSettings, deadline: float | None = None
    ) -> None:
        # (as `OutgoingCall.__init__`, but in one step)
        self.message = message
        self.settings = settings
        self.deadline = deadline
        self.state = NEW
        self.link = None
        self.extras = None
        self._state = PENDING
        self._made = None
        self._lament = None
        self._sleepers: tuple[Any, ...] = ()  # locks of the threads that wait for it
        self.observed = False

    @property
    def _condition(self) -> threading.Condition:  # type: ignore[override]
        made = self._made
        if made is None:
            with _making:
                made = self._made
                if made is None:
                    self._waiters: list[Any] = []
                    self._done_callbacks: list[Any] = []
                    made = self._made = threading.Condition()
        return made

    def finish(self, result: Any, error: BaseException | None) -> None:
        """Settle the future and queue its callbacks. Runs under the loop's lock."""
        shared = self.client._shared
        threads = shared.threads
        threads.loop.at_turn_end = threads.end_turn
        if self._state is PENDING:
            self._settle(result, error)
        elif self._state is FINISHED:  # an earlier `finish` was cut half-way
            result, error = self._result, self._exception
        if error is None:
            if self.callback is not None:
                threads.posted.append((self, self.callback, result))
        elif self.errback is not None:
            threads.posted.append((self, self.errback, error))
        if shared.listeners:
            threads.posted.append(
                (self, lambda _: self.client._tell_listeners(self, result, error), None)
            )

    def _rouse(self) -> None:
        for settled in self._sleepers:
            with suppress(RuntimeError):  # it may be woken twice
                settled.release()

    @property
    def told(self) -> bool:
        threads = self.client._shared.threads
        return self._state is not PENDING and any(entry[0] is self for entry in threads.posted)

    def _settle(self, result: Any, error: BaseException | None) -> None:
        """Act as `set_result` or `set_exception`. Only one thread settles.
        It skips a condition that was never made."""
        self._result = result
        self._exception = error
        if error is not None:
            self._lament = _Lament(self.method, error)
            if self.observed:
                self._lament.silence()
        # From here on, a thread that makes the condition sees that it need not wait.
        self._state = FINISHED
        if self._sleepers:
            self._rouse()
        if self._made is not None:
            with self._made:
                for waiter in self._waiters:
                    if error is None:
                        waiter.add_result(self)
                    else:
                        waiter.add_exception(self)
                self._condition.notify_all()
            self._invoke_callbacks()  # type: ignore[attr-defined]

    def disown(self, error: BaseException) -> None:
        if self._state is PENDING:
            self.state = ENDED
            self.observed = True
            self._made = None  # another thread of the parent may have held its lock
            self._settle(None, error)

    def cancel(self) -> bool:
        shared = self.client._shared
        return shared.core is not None and bool(shared.threads.loop.turn(self._cancel, shared.core))

    def _cancel(self, core: ClientCore) -> bool:
        if self.ended or not super().cancel():
            return False
        self._rouse()
        return core.cancel(self, errors.Cancelled(f"{self.method} was cancelled by its caller"))

    def result(self, timeout: float | None = None) -> Any:
        error = self.exception(timeout)
        if error is None:
            return self._result
        try:
            raise error
        finally:
            del self, error  # otherwise the error and its traceback keep each other alive

    def exception(self, timeout: float | None = None) -> BaseException | None:
        self._wait(timeout)
        if self._state is PENDING:
            raise concurrent.futures.TimeoutError
        if self._state is not FINISHED:
            raise concurrent.futures.CancelledError
        return self._exception

    def add_done_callback(self, fn: Callable[[Any], object]) -> None:
        self.observe()
        function, post = in_context(fn), self.client._shared.threads.post_now
        super().add_done_callback(lambda future: post(self, function, future))

    def _wait(self, timeout: float | None) -> None:
        """Wait until it is settled, at most `timeout` seconds.
        Raises RuntimeError if the wait could never end. It does not use the condition: a signal
        handler that raises inside it would leave it locked, and the settling thread would wait for
        ever."""
        self.observe()
        if self._state is PENDING:
            if self.client._shared.threads.loop.is_entered():
                raise RuntimeError(ENTERED)
            settled = threading.Lock()
            settled.acquire()
            with _making:
                self._sleepers = (*self._sleepers, settled)
            if self._state is PENDING:
                settled.acquire(
                    timeout=-1 if timeout is None else min(max(timeout, 0.0), threading.TIMEOUT_MAX)
                )

    def observe(self) -> None:
        """Note that the program sees the outcome, so an error need not be reported."""
        self.observed = True
        if self._lament is not None:
            self._lament.silence()


class _Lament:
    """Reports an error that the program never retrieves.
    (A `__del__` of the future itself would slow every call.)"""

    __slots__ = ("_error", "_method")

    def __init__(self, method: str, error: BaseException) -> None:
        self._method = method
        self._error: BaseException | None = error

    def silence(self) -> None:
        self._error = None

    def __del__(self) -> None:
        if self._error is not None:
            unseen(self._method, self._error)
