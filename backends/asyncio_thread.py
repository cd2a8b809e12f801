"""One native thread with an asyncio loop, which runs the coroutines of the other backends."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import Context
from typing import Any

from ..errors import RemoteError, name_of, text_of
from ..logs.errorlog import log_error
from . import native
from .base import Report

log = logging.getLogger("ringback.backends")


class RemoteTask:
    """A task on the other thread's loop."""

    __slots__ = ("_loop", "_task")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._task: asyncio.Task[Any] | None = None

    def start(self, coroutine: Coroutine[Any, Any, Any], report: Report, context: Context) -> None:
        self._task = start_task(self._loop, coroutine, report, context)

    def cancel(self) -> None:
        def cancel() -> None:
            if self._task is not None:
                self._task.cancel()

        self._loop.call_soon_threadsafe(cancel)


def leaving(error: BaseException) -> RemoteError:
    """The error of a coroutine that raised SystemExit or KeyboardInterrupt.

    asyncio would stop its loop for these, and so the server.
    """
    return RemoteError(name_of(error), text_of(error))


async def outcome_of(awaitable: Awaitable[Any]) -> Any:
    """Await the value, in a coroutine that can run as a task."""
    try:
        return await awaitable
    except (SystemExit, KeyboardInterrupt) as error:
        raise leaving(error) from None


def start_task(
    loop: asyncio.AbstractEventLoop,
    coroutine: Coroutine[Any, Any, Any],
    report: Report,
    context: Context,
) -> asyncio.Task[Any]:
    """Run the coroutine as a task of the loop, in the context, and report its outcome."""

    def done(task: asyncio.Task[Any]) -> None:
        if task.cancelled():
            report(None, asyncio.CancelledError())
        elif (error := task.exception()) is not None:
            report(None, error)
        else:
            report(task.result(), None)

    task = loop.create_task(coroutine, context=context)
    task.add_done_callback(done)
    return task


class AsyncioThread:
    """The native thread and its asyncio loop. The first coroutine starts the thread."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._running: list[Any] = []  # the lock of its thread, held until the thread ends

    def run_coroutine(
        self, coroutine: Coroutine[Any, Any, Any], report: Report, context: Context
    ) -> RemoteTask:
        loop = self._loop or self._start()
        task = RemoteTask(loop)
        loop.call_soon_threadsafe(task.start, coroutine, report, context)
        return task

    def come_back(self, function: Callable[[], object]) -> None:
        """In a child that a handler forked: when the loop goes on, call the function only."""
        if self._loop is not None:
            call_only(self._loop, function)

    def close(self) -> None:
        loop, self._loop = self._loop, None
        if loop is not None:
            loop.call_soon_threadsafe(loop.stop)

    def join(self, until: float) -> None:
        """After `close`: wait until the thread ends, at most until the monotonic time `until`."""
        native.join(self._running, until)

    def _start(self) -> asyncio.AbstractEventLoop:
        started = native.allocate_lock()
        started.acquire()

        def run() -> None:
            # The loop is made in its own thread: under gevent's patches its sockets belong to the
            # hub of the thread that makes them.
            loop = self._loop = asyncio.SelectorEventLoop(native.selector())
            asyncio.set_event_loop(loop)
            started.release()
            try:
                run_until(loop, lambda: self._loop is not loop, SystemExit, KeyboardInterrupt)
                cancel_all(loop)
            finally:
                loop.close()

        self._running.append(native.start_thread(run))
        started.acquire()
        assert self._loop is not None
        return self._loop


def run_until(
    loop: asyncio.AbstractEventLoop, ended: Callable[[], bool], *endings: type[BaseException]
) -> None:
    """Run the loop until `ended()` is true.

    The service's own code cannot end the loop earlier: a task that a handler has left behind may
    raise SystemExit, which is logged, or stop the loop, which then runs again.
    """
    while not ended():
        with _logged(*endings):
            loop.run_forever()


@contextmanager
def _logged(*endings: type[BaseException]) -> Iterator[None]:
    try:
        yield
    except endings as error:
        log_error(log, "a task or callback of the service raised", error=error)


# Callbacks that a forked child drops. They are kept, as asyncio complains of destroyed tasks.
_others: list[Any] = []


def call_only(loop: asyncio.AbstractEventLoop, function: Callable[[], object]) -> None:
    """Call the function as soon as the loop goes on, and drop the callbacks that were ready."""
    ready = getattr(loop, "_ready", None)  # asyncio's; uvloop does not expose its own
    if ready is not None:
        _others.extend(ready)
        ready.clear()
    loop.call_soon(function)


def cancel_all(loop: asyncio.AbstractEventLoop) -> None:
    """Cancel all tasks of a stopped loop and run them until they have cleaned up."""
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    gather: Callable[..., Any] = asyncio.gather
    while any(not task.done() for task in tasks):
        with _logged(SystemExit):
            loop.run_until_complete(gather(*tasks, return_exceptions=True))
    loop.run_until_complete(loop.shutdown_asyncgens())
