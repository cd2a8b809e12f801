"""The loop of a client for greenlets."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable
from contextvars import Context
from functools import partial
from typing import Any

import gevent

from ...errors import CallError, Unavailable
from .. import native
from ..base import Handle, T
from ..blocking import CUT, ENTERED, BlockingLoop
from .server import GeventLoop, GreenletGate

# Seconds after which a client's timer comes again that has not been called.
AGAIN = 1.0


class _Again:
    """A timer of a client's loop: it comes again if a signal's handler has kept it from being called."""

    __slots__ = ("_args", "_function", "_loop", "_timer")

    def __init__(
        self, loop: GeventClientLoop, timer: Any, function: Callable[..., object], args: tuple[Any, ...]
    ) -> None:
        self._loop = loop
        self._timer = timer
        self._function = function
        self._args = args
        timer.start(
            loop.turn_in_hub, self._call, update=True
        )  # counts from now, not from when the loop last woke

    def cancel(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None and timer.loop.ptr:
            timer.stop()
            timer.close()

    def _call(self) -> None:
        self.cancel()
        self._function(*self._args)


class _ClientWatch:
    """A descriptor that is watched anew if a signal's handler has kept what it calls from being called: gevent stops it then. `watches` are
    all of the loop's: it is among them for as long as it may be active, as libev ends the process where a descriptor is closed before."""

    __slots__ = ("_ready", "_turn", "_watches", "watcher")

    def __init__(
        self,
        watches: list[_ClientWatch],
        watcher: Any,
        turn: Callable[..., object],
        ready: Callable[[], object],
    ) -> None:
        self._watches = watches
        self.watcher = watcher
        self._turn = turn
        self._ready = ready
        watches.append(self)
        self.start()

    def start(self) -> None:
        self.watcher.start(self._turn, self._ready)

    def cancel(self) -> None:
        if self in self._watches and self.watcher.loop.ptr:  # else its hub was destroyed
            self.watcher.stop()
            self._watches.remove(self)
            self.watcher.close()


class GeventClientLoop(BlockingLoop, GeventLoop):
    """The loop of a client. All that touches its core is a turn, which a signal's handler may cut (`blocking.py`). One that raises at the
    entry of what the hub calls keeps that from being called: it is still there, or comes again."""

    def __init__(self) -> None:
        BlockingLoop.__init__(self)
        GeventLoop.__init__(self)
        self._watches: list[_ClientWatch] = []
        self._soon: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        # The hub's call of `_run_soon`, if one is to come: one is, from the start.
        self._pending: Any = self._loop.run_callback(self.turn_in_hub, self._run_soon)
        self.call_soon = partial(self._call_soon, self._loop.run_callback)  # type: ignore[method-assign]
        self.call_soon_threadsafe = partial(self._call_soon, self._loop.run_callback_threadsafe)  # type: ignore[method-assign]

    def _watch(self, fd: int, event: int, ready: Callable[[], object]) -> Handle:
        return _ClientWatch(self._watches, self._loop.io(fd, event), self.turn_in_hub, ready)

    def call_later(self, seconds: float, function: Callable[..., object], *args: Any) -> Handle:
        return _Again(self, self._loop.timer(max(0.0, seconds), AGAIN), function, args)

    @property
    def is_here(self) -> bool:
        return self._hub is gevent.get_hub()

    def gate(self) -> GreenletGate:
        return GreenletGate()

    def wait(self, gate: GreenletGate) -> None:
        gate.stay()

    def spawn(self, work: Callable[[], object], context: Context) -> Callable[[], object]:
        return partial(context.run(gevent.spawn, work).kill, block=False)

    def may_be_cut(self) -> bool:
        return native.may_be_interrupted()

    def forked(self) -> None:
        super().forked()
        self._soon.clear()
        self.whole = True

    def forget(self) -> None:
        for watch in list(self._watches):
            watch.cancel()
        self._soon.clear()

    def turn(self, function: Callable[..., T], *args: Any) -> T:
        """Call the function as a turn. A CallError is what it raises before it has done anything; all else cuts the turn."""
        if not self.whole:
            self.mend()
            raise Unavailable(CUT, started=False)
        try:
            self.whole = False
            result = function(*args)
            self.whole = True
        except CallError:
            self.whole = True
            raise
        except BaseException:
            self.mend()
            raise
        if self._soon and not self._pending.pending:
            self._pending = self._loop.run_callback(self.turn_in_hub, self._run_soon)
        for watch in self._watches:
            if not watch.watcher.active:
                watch.start()
        return result

    def turn_in_hub(self, function: Callable[..., object], *args: Any) -> None:
        """What a signal's handler raises here is raised in the main greenlet; but an Exception is written to standard error, as where
        gevent calls what raises."""
        try:
            self.turn(function, *args)
        except Exception as error:
            self._hub.handle_error(self, type(error), error, error.__traceback__)
        except BaseException as error:
            self._hub.handle_system_error(type(error), error, error.__traceback__)

    def _call_soon(
        self, schedule: Callable[..., object], function: Callable[..., object], *args: Any
    ) -> None:
        self._soon.append((function, args))
        if not self._pending.pending:
            self._pending = schedule(self.turn_in_hub, self._run_soon)

    def _run_soon(self) -> None:
        soon = self._soon
        for _ in range(len(soon)):
            function, args = soon.popleft()
            function(*args)

    def mend(self) -> None:
        """Give up what a turn that was cut has left. Raises RuntimeError where this is called from within a turn, by a signal's handler."""
        if not self.whole:
            frame = sys._getframe(1).f_back
            while frame is not None:
                if frame.f_code is _TURN:
                    raise RuntimeError(ENTERED)
                frame = frame.f_back
            self.cut()
            self.whole = True


_TURN = GeventClientLoop.turn.__code__
