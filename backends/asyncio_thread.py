"""One native thread that holds an asyncio loop: where coroutines run on the backends that are not asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from . import native
from .base import Report


class RemoteTask:
    """A task on the other thread's loop."""

    __slots__ = ("_loop", "_task")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._task: asyncio.Task[Any] | None = None

    def start(self, coroutine: Coroutine[Any, Any, Any], report: Report) -> None:
        self._task = start_task(self._loop, coroutine, report)

    def cancel(self) -> None:
        def cancel() -> None:
            if self._task is not None:
                self._task.cancel()

        self._loop.call_soon_threadsafe(cancel)


def start_task(
    loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any], report: Report
) -> asyncio.Task[Any]:
    """Run the coroutine as a task of that loop and report its outcome."""

    def done(task: asyncio.Task[Any]) -> None:
        if task.cancelled():
            report(None, asyncio.CancelledError())
        elif (error := task.exception()) is not None:
            report(None, error)
        else:
            report(task.result(), None)

    task = loop.create_task(coroutine)
    task.add_done_callback(done)
    return task


class AsyncioThread:
    """Starts its thread with the first coroutine."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None

    def run_coroutine(self, coroutine: Coroutine[Any, Any, Any], report: Report) -> RemoteTask:
        loop = self._loop or self._start()
        task = RemoteTask(loop)
        loop.call_soon_threadsafe(task.start, coroutine, report)
        return task

    def close(self) -> None:
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._loop = None

    def _start(self) -> asyncio.AbstractEventLoop:
        started = native.allocate_lock()
        started.acquire()

        def run() -> None:
            # Made in its own thread: under gevent's patches its sockets belong to the hub of the thread that makes them.
            loop = self._loop = asyncio.SelectorEventLoop(native.selector())
            asyncio.set_event_loop(loop)
            started.release()
            try:
                loop.run_forever()
                cancel_all(loop)
            finally:
                loop.close()

        native.start_thread(run)
        started.acquire()
        assert self._loop is not None
        return self._loop


def cancel_all(loop: asyncio.AbstractEventLoop) -> None:
    """Cancel what still runs on a loop that has stopped, and let it clean up."""
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    gather: Callable[..., Any] = asyncio.gather
    if tasks:
        loop.run_until_complete(gather(*tasks, return_exceptions=True))
    loop.run_until_complete(loop.shutdown_asyncgens())
