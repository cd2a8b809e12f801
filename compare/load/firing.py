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
    """All the calls that one cell fires, by the clients in turn; a caller keeps to one. `over` is called once, when none is left in flight
    and none is to come."""

    def __init__(self, clients: Sequence[Any], batch: Batch, over: Callable[[], object]) -> None:
        self._fires: Iterator[Callable[..., Any]] = cycle([client.fire for client in clients])
        self._batch = batch
        self._over = over
        self._idle: list[_Fired] = []
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
            _Again(caller, next(self._fires), self._ended).fire()
        self._ended()

    def open(self, sleep: Callable[[float], object]) -> None:
        """Fire each call when it is due, whatever became of those before it."""
        self._idle += map(self._fired, self._batch.callers)
        for due, _ in self._due():
            if (early := due - monotonic()) > 0:
                sleep(early)
            self._one(due)
        self._ended()

    async def open_async(self, sleep: Callable[[float], Awaitable[object]]) -> None:
        """The same on an event loop."""
        self._idle += map(self._fired, self._batch.callers)
        for due, yields in self._due():
            if (early := due - monotonic()) > 0 or yields:
                await sleep(max(0.0, early))
            self._one(due)
        self._ended()

    def _fired(self, caller: Caller) -> _Fired:
        return _Fired(caller, next(self._fires), self._rest)

    def _due(self) -> Iterator[tuple[float, bool]]:
        """When the next call is due, and whether to let others run even where that is past. What is far too late is skipped."""
        for number, due in enumerate(self._batch.dues):
            if monotonic() < self._batch.stops:
                yield due, number % _LATE == 0

    def _one(self, due: float) -> None:
        if self._idle:
            fired = self._idle.pop()
        elif len(self._batch.callers) < self._batch.most:
            fired = self._fired(self._batch.another())
        else:
            return
        with self._lock:
            self._left += 1
        fired.fire(due)

    def _rest(self, fired: _Fired) -> None:
        self._idle.append(fired)
        self._ended()

    def _ended(self, _: object = None) -> None:
        with self._lock:
            self._left -= 1
            over = not self._left
        if over:
            self._batch.ends()
            self._over()


class _Fired:
    """A caller with its callbacks, made once for all its calls. `after` is called when it has been called back."""

    __slots__ = ("_after", "_caller", "_failed", "_fire", "_replied")

    def __init__(self, caller: Caller, fire: Callable[..., Any], after: Callable[[_Fired], object]) -> None:
        self._caller = caller
        self._fire = fire
        self._after = after
        self._replied, self._failed = self.replied, self.failed

    def fire(self, due: float | None = None) -> None:
        """Make the next call; in a closed loop, where none is `due`, only while the window is open."""
        call = self._caller.begin(due)
        if call is None:
            self._after(self)
        else:
            self._fire(call.method, *call.args, **call.kwargs, callback=self._replied, errback=self._failed)

    def replied(self, result: Any) -> None:
        """Its call was answered."""
        self._caller.reply(result)
        self._after(self)

    def failed(self, error: BaseException) -> None:
        """Its call failed."""
        self._caller.fail(error)
        self._after(self)


class _Again(_Fired):
    """One that makes the next call at once."""

    __slots__ = ()

    def replied(self, result: Any) -> None:
        self._caller.reply(result)
        self.fire()

    def failed(self, error: BaseException) -> None:
        self._caller.fail(error)
        self.fire()
