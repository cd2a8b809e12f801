"""Fire-and-callback load: in a closed loop each callback makes the next call, in an open loop a
pacer does."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from threading import Lock
from time import monotonic
from typing import Any

from .batch import Batch
from .callers import Caller

# A pacer that is late yields to others after this many calls.
_LATE = 64

Fire = Callable[..., Any]
Sleep = Callable[[float], Awaitable[None]]
# Starts calls; it calls its argument when all have ended.
Start = Callable[[Callable[[], object]], Awaitable[None]]


class Firing:
    """The fired calls of one slice. Callers are distributed over the clients; each keeps its
    own."""

    def __init__(self, fires: Sequence[Fire], batch: Batch) -> None:
        self._fires: Iterator[Fire] = cycle(fires)
        self._batch = batch
        self._over: Callable[[], object]
        self._idle: list[_Fired] = []
        # Callers with a call in flight; the pacer counts as one until it has fired its last call.
        self.left = 1
        self._lock = Lock()

    async def start(self, sleep: Sleep, over: Callable[[], object]) -> None:
        """Fire the calls: in an open loop each at its time, in a closed loop the first of each
        caller.

        `over` is called once, when no call is in flight and none will follow.
        """
        self._over = over
        if self._batch.cell.load.open:
            await self._open(sleep)
        else:
            self.left += len(self._batch.callers)
            for caller in self._batch.callers:
                _Fired(caller, next(self._fires), _Fired.fire, self._ended).fire()
        self._ended()

    async def _open(self, sleep: Sleep) -> None:
        """Fire each call when it is due, whether or not earlier ones have ended; skip late
        arrivals."""
        self._idle += map(self._fired, self._batch.callers)
        for number, due in enumerate(self._batch.dues):
            if monotonic() >= self._batch.stops:
                return
            if (early := due - monotonic()) > 0 or number % _LATE == 0:
                await sleep(max(0.0, early))
            if self._idle:
                fired = self._idle.pop()
            elif len(self._batch.callers) < self._batch.most:
                fired = self._fired(self._batch.another())
            else:
                continue
            with self._lock:
                self.left += 1
            fired.fire(due)

    def _fired(self, caller: Caller) -> _Fired:
        return _Fired(caller, next(self._fires), self._rest, self._ended)

    def _rest(self, fired: _Fired) -> None:
        self._idle.append(fired)
        self._ended()

    def _ended(self) -> None:
        with self._lock:
            self.left -= 1
            over = not self.left
        if over:
            self._batch.ends()
            self._over()


@dataclass(slots=True, eq=False)
class _Fired:
    """A caller with its callbacks, which are created once for all its calls.

    It calls `then` after each callback, and `ended` when it makes no more calls.
    """

    caller: Caller
    invoke: Fire
    then: Callable[[_Fired], object]
    ended: Callable[[], object]
    _replied: Callable[[Any], None] = field(init=False)
    _failed: Callable[[BaseException], None] = field(init=False)

    def __post_init__(self) -> None:
        self._replied, self._failed = self.replied, self.failed

    def fire(self, due: float | None = None) -> None:
        """Make the next call; in a closed loop (`due` is None), only while the window is open."""
        call = self.caller.begin(due)
        if call is None:
            self.ended()
        else:
            self.invoke(
                call.method, *call.args, **call.kwargs, callback=self._replied, errback=self._failed
            )

    def replied(self, result: Any) -> None:
        self.caller.reply(result)
        self.then(self)

    def failed(self, error: BaseException) -> None:
        self.caller.fail(error)
        self.then(self)
