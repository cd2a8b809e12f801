"""Fire-and-callback: one that makes calls and goes on, being called back. Closed: each callback makes the next call. Open: a pacer does."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from itertools import cycle
from threading import Lock
from time import monotonic
from typing import Any

from .batch import Batch
from .callers import Caller

# So many calls late, a pacer lets others run before it goes on.
_LATE = 64


class Firing:
    """All the calls that one cell fires, by the clients in turn; a caller of a closed loop keeps to one. `over` is called once, when
    none is left in flight and none is to come."""

    def __init__(self, clients: Sequence[Any], batch: Batch, over: Callable[[], object]) -> None:
        self._fires: Iterator[Callable[..., Any]] = cycle([client.fire for client in clients])
        self._batch = batch
        self._over = over
        self._idle: list[Caller] = []
        self._left = 1  # the one that fires is there too, until it has fired its last
        self._lock = Lock()

    @property
    def left(self) -> int:
        """How many callers have not ended."""
        return self._left

    def closed(self) -> None:
        """Let each caller fire, and again whenever it is called back, until the window closes."""
        self._left += len(self._batch.callers)
        for caller in self._batch.callers:
            self._next(caller, next(self._fires))
        self._ended()

    def _next(self, caller: Caller, fire: Callable[..., Any]) -> None:
        call = caller.begin()
        if call is None:
            self._ended()
            return

        def replied(result: Any) -> None:
            caller.reply(result)
            self._next(caller, fire)

        def failed(error: BaseException) -> None:
            caller.fail(error)
            self._next(caller, fire)

        fire(call.method, *call.args, **call.kwargs, callback=replied, errback=failed)

    def open(self, sleep: Callable[[float], object]) -> None:
        """Fire each call when it is due, whatever became of those before it."""
        self._idle += self._batch.callers
        for due, _ in self._due():
            if (early := due - monotonic()) > 0:
                sleep(early)
            self._one(due)
        self._ended()

    async def open_async(self, sleep: Callable[[float], Awaitable[object]]) -> None:
        """The same on an event loop."""
        self._idle += self._batch.callers
        for due, yields in self._due():
            if (early := due - monotonic()) > 0 or yields:
                await sleep(max(0.0, early))
            self._one(due)
        self._ended()

    def _due(self) -> Iterator[tuple[float, bool]]:
        """When the next call is due, and whether to let others run even where that is past. What is far too late is skipped."""
        for number, due in enumerate(self._batch.dues):
            if monotonic() < self._batch.stops:
                yield due, number % _LATE == 0

    def _one(self, due: float) -> None:
        if self._idle:
            caller = self._idle.pop()
        elif len(self._batch.callers) < self._batch.most:
            caller = self._batch.another()
        else:
            return
        call = caller.begin(due)
        assert call is not None
        with self._lock:
            self._left += 1

        def replied(result: Any) -> None:
            caller.reply(result)
            self._idle.append(caller)
            self._ended()

        def failed(error: BaseException) -> None:
            caller.fail(error)
            self._idle.append(caller)
            self._ended()

        next(self._fires)(call.method, *call.args, **call.kwargs, callback=replied, errback=failed)

    def _ended(self) -> None:
        with self._lock:
            self._left -= 1
            over = not self._left
        if over:
            self._batch.ends()
            self._over()
