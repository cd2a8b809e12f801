"""The asyncio backend, on uvloop if asked: handlers run in worker threads or as tasks."""

from __future__ import annotations

import asyncio
import inspect
import signal
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any

from ..errors import UsageError
from ..runtime import forks
from .asyncio_gate import AsyncioGate
from .asyncio_thread import call_only, cancel_all, outcome_of, run_until, start_task
from .base import Begin, Drain, Handle, Loop, Report
from .shared import SharedFutures
from .workers import Workers


class _Watch:
    __slots__ = ("_fd", "_loop", "_remove")

    def __init__(
        self, loop: asyncio.AbstractEventLoop, remove: Callable[[int], object], fd: int
    ) -> None:
        self._loop = loop
        self._remove = remove
        self._fd = fd

    def cancel(self) -> None:
        if not self._loop.is_closed():
            self._remove(self._fd)


class AsyncioLoop(Loop):
    """The given asyncio loop, else the running one, else a new one for `run`."""

    name = "asyncio"
    entered_with = "async with"
    entered_by = "`async with`"

    def __init__(
        self,
        *,
        workers: int = 32,
        uvloop: bool = False,
        running: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self._loop = running or _running_loop() or _new_loop(uvloop)
        self.workers = self.threads = workers
        self._workers = Workers(workers)
        self._futures = SharedFutures()
        self._stopped = False
        forks.inherit(self)
        # The loop's own methods, which saves a frame per call.
        self.call_soon = self._loop.call_soon  # type: ignore[assignment, method-assign]
        self.call_soon_threadsafe = self._loop.call_soon_threadsafe  # type: ignore[assignment, method-assign]

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        return self._loop

    @property
    def closed(self) -> bool:
        return self._loop.is_closed()

    def watch(self, fd: int, ready: Callable[[], object]) -> Handle:
        # An empty context: the reads serve all tasks, not just the one that happens to call this
        # first.
        Context().run(self._loop.add_reader, fd, ready)
        return _Watch(self._loop, self._loop.remove_reader, fd)

    def watch_writable(self, fd: int, ready: Callable[[], object]) -> Handle:
        Context().run(self._loop.add_writer, fd, ready)
        return _Watch(self._loop, self._loop.remove_writer, fd)

    def call_soon(self, function: Callable[..., object], *args: Any) -> None:
        self._loop.call_soon(function, *args)

    def call_later(self, seconds: float, function: Callable[..., object], *args: Any) -> Handle:
        return self._loop.call_later(seconds, function, *args, context=Context())

    def call_soon_threadsafe(self, function: Callable[..., object], *args: Any) -> None:
        self._loop.call_soon_threadsafe(function, *args)

    def run_in_worker(self, work: Callable[[], object]) -> None:
        self._workers.submit(work)

    def run_coroutine(
        self, coroutine: Coroutine[Any, Any, Any], report: Report, context: Context
    ) -> Handle:
        return start_task(self._loop, coroutine, report, context)

    def adopt(self, value: object, report: Report, context: Context) -> Handle | None:
        if not isinstance(value, asyncio.Future) or value.get_loop() is not self._loop:
            return (
                start_task(self._loop, outcome_of(value), report, context)
                if inspect.isawaitable(value)
                else None
            )
        wait, first = self._futures.wait(value, report)
        if first:
            value.add_done_callback(self._settle)
        return wait

    def _settle(self, future: asyncio.Future[Any]) -> None:
        if future.cancelled():
            self._futures.settle(future, None, asyncio.CancelledError())
        elif (error := future.exception()) is not None:
            self._futures.settle(future, None, error)
        else:
            self._futures.settle(future, future.result(), None)

    def native_gate(self) -> AsyncioGate:
        return AsyncioGate()

    async def enter_async(self, begin: Begin) -> None:
        started: asyncio.Future[None] = self._loop.create_future()
        begin(lambda error: started.set_exception(error) if error else started.set_result(None))
        await started

    async def leave_async(self, drain: Drain) -> None:
        ended: asyncio.Future[bool] = self._loop.create_future()
        drain(ended.set_result)
        await ended

    def run(self, start: Callable[[], object]) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.call_soon(start)
        try:
            # KeyboardInterrupt passes: it may be the user's own.
            run_until(self._loop, lambda: self._stopped, SystemExit)
        finally:
            cancel_all(self._loop)
            self._loop.close()

    def stop(self) -> None:
        self._stopped = True
        self._loop.stop()

    def close(self) -> None:
        self._workers.close()

    def forked(self) -> None:
        """In a child: release the descriptors that the loop watches, which belong to the parent."""
        forks.separate(getattr(self._loop, "_selector", None))  # uvloop has no such attribute

    def come_back(self, function: Callable[[], object]) -> None:
        call_only(self._loop, function)

    def on_signal(self, number: signal.Signals, function: Callable[[], object]) -> None:
        self._loop.add_signal_handler(number, function)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _new_loop(uvloop: bool) -> asyncio.AbstractEventLoop:
    if not uvloop:
        return asyncio.new_event_loop()
    try:
        import uvloop as library
    except ImportError:
        raise UsageError(
            "--uvloop needs uvloop: install it with pip install 'ringback[uvloop]'"
        ) from None
    return library.new_event_loop()
