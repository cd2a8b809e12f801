"""The event loop of a gevent client, on the hub of its thread."""

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

# Seconds after which a timer fires again if its call was prevented.
AGAIN = 1.0


class _Again:
    """A client's timer: it fires again if an exception from a signal handler prevented its call."""

    __slots__ = ("_args", "_function", "_loop", "_timer")

    def __init__(
        self,
        loop: GeventClientLoop,
        timer: Any,
        function: Callable[..., object],
        args: tuple[Any, ...],
    ) -> None:
        self._loop = loop
        self._timer = timer
        self._function = function
        self._args = args
        # `update`: the time counts from now, not from the loop's last wake-up.
        timer.start(loop.turn_in_hub, self._call, update=True)

    def cancel(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None and timer.loop.ptr:
            timer.stop()
            timer.close()

    def _call(self) -> None:
        self.cancel()
        self._function(*self._args)


class _ClientWatch:
    """A watch that is started again if an exception from a signal handler prevented its call.

    gevent stops a watcher then. `watches` lists all watches of the loop that may be active: libev
    ends the process if a descriptor is closed before its watcher stops.
    """

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
        if self in self._watches and self.watcher.loop.ptr:  # not if its hub was destroyed
            self.watcher.stop()
            self._watches.remove(self)
            self.watcher.close()


class GeventClientLoop(BlockingLoop, GeventLoop):
    """The loop of a client.

    Everything that changes its core is a turn, which a signal handler may cut (`blocking.py`). A
    signal handler that raises as the hub enters a callback prevents that call: the callback stays
    queued, or its timer fires again.
    """

    def __init__(self) -> None:
        BlockingLoop.__init__(self)
        GeventLoop.__init__(self)
        self._watches: list[_ClientWatch] = []
        self._soon: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        # The hub's pending call of `_run_soon`; one is scheduled from the start.
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
        """Call the function as a turn.

        The function raises a CallError only before it has changed anything; any other exception
        cuts the turn.
        """
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
        """Take a turn in the hub.

        Exceptions go where gevent puts them for any callback: an Exception goes to standard error,
        all else is raised in the main greenlet.
        """
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
        """If a turn was cut, give up all connections of the loop.

        Raises RuntimeError if a signal handler calls this from within a turn.
        """
        if not self.whole:
            frame = sys._getframe(1).f_back
            while frame is not None:
                if frame.f_code is _TURN:
                    raise RuntimeError(ENTERED)
                frame = frame.f_back
            self.cut()
            self.whole = True


_TURN = GeventClientLoop.turn.__code__
