"""The gevent loop: descriptors and timers on the hub's libev loop, handlers in greenlets.

Handlers run in native threads where the service asks for it, and asyncio coroutines in one native
thread. The hub runs our callbacks between greenlets, so they must never block.
"""

from __future__ import annotations

import logging
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import Context
from math import inf
from typing import Any

import gevent
from gevent import signal_handler
from gevent.event import AsyncResult, Event
from greenlet import getcurrent, greenlet

from ...errors import Cancelled
from ...logs.errorlog import log_error
from ...runtime import forks, hubs
from .. import native
from ..asyncio_thread import AsyncioThread
from ..base import Begin, Drain, Handle, Loop, Report
from ..workers import Workers

log = logging.getLogger("ringback.backends")

# Seconds to wait for native threads at the end. Some may still run an abandoned handler.
LAST_THREADS = 1.0

# Seconds that workers may run between two polls of the hub.
SLICE = 0.0005

# Events of a descriptor, with libev's numbers.
READABLE, WRITABLE = 1, 2


class _Watch:
    """A libev watcher that `cancel` stops and closes."""

    __slots__ = ("_watcher",)

    def __init__(self, watcher: Any) -> None:
        self._watcher = watcher

    def cancel(self) -> None:
        if self._watcher.loop.ptr:  # not if its hub was destroyed
            self._watcher.stop()
            self._watcher.close()


class GreenletGate:
    """A gate for one greenlet. Opened from the hub's thread."""

    def __init__(self) -> None:
        self._event = Event()
        self._generation = forks.generation

    @property
    def opened(self) -> bool:
        return bool(self._event.is_set())

    def wait(self) -> None:
        self.stay()
        self._event.clear()

    def stay(self) -> None:
        """Return when the gate is open, and leave it open."""
        if self._generation != forks.generation:
            raise Cancelled(
                "this call or stream began before a fork: only the parent gets its outcome"
            )
        self._event.wait()

    def open(self) -> None:
        self._event.set()


class _Work:
    """One piece of work, and the greenlet that runs it."""

    __slots__ = ("greenlet", "loop", "work")

    def __init__(self, loop: Any, work: Callable[[], object]) -> None:
        self.loop = loop
        self.work = work
        self.greenlet: Any = None

    def cancel(self) -> None:
        if self.greenlet is not None:
            self.loop.run_callback(self._kill)

    def _kill(self) -> None:
        """In the hub. `greenlet` is None if the worker has gone on to other work meanwhile."""
        if self.greenlet is not None:
            self.greenlet.throw(gevent.GreenletExit)


class GeventLoop(Loop):
    """The hub of the thread that makes this object.

    `workers` is the maximum number of greenlets that run handlers.
    """

    name = "gevent"
    entered_with = "with"
    entered_by = "`with`"
    cooperative = True
    shares_watches = False

    def __init__(self, *, workers: int = 1000) -> None:
        self._hub = gevent.get_hub()
        self._loop: Any = self._hub.loop
        self.workers = workers
        self.threads = min(workers, 32)
        self._running = 0
        self._waiting: deque[_Work] = deque()
        self._feeding = False
        # When workers have to let the hub poll; None if no work has begun since the last poll.
        self._slice_end: float | None = None
        self._at_work: Any = None  # the worker that has begun work last
        self._references = 0  # references to that worker when it began
        self._next_slice = self._loop.timer(0)
        self._looked = self._loop.check(ref=False)
        self._threads = Workers(self.threads)
        self._coroutines = AsyncioThread()
        self._stopped = Event()
        self._signals: list[Any] = []
        self._serving: int | None = None  # the thread whose hub runs a server with this loop
        forks.inherit(self)
        self.call_soon = self._loop.run_callback  # type: ignore[method-assign]
        self.call_soon_threadsafe = self._loop.run_callback_threadsafe  # type: ignore[method-assign]

    @property
    def loop(self) -> Any:
        return self._hub

    @property
    def closed(self) -> bool:
        """Whether the hub was destroyed, or its thread has ended."""
        return not self._loop.ptr or self._hub.thread_ident not in sys._current_frames()

    def watch(self, fd: int, ready: Callable[[], object]) -> Handle:
        return self._watch(fd, READABLE, ready)

    def watch_writable(self, fd: int, ready: Callable[[], object]) -> Handle:
        return self._watch(fd, WRITABLE, ready)

    def _watch(self, fd: int, event: int, ready: Callable[[], object]) -> Handle:
        watcher = self._loop.io(fd, event)
        watcher.start(ready)
        return _Watch(watcher)

    def call_soon(self, function: Callable[..., object], *args: Any) -> None:
        self._loop.run_callback(function, *args)

    def call_after_poll(self, function: Callable[[], object]) -> None:
        self.call_later(0.0, function)  # the hub runs 50 callbacks and more between two polls

    def call_later(self, seconds: float, function: Callable[..., object], *args: Any) -> Handle:
        timer = self._loop.timer(max(0.0, seconds))
        handle = _Watch(timer)
        timer.start(function, *args, update=True)  # counts from now, not from the last wake-up
        return handle

    def call_soon_threadsafe(self, function: Callable[..., object], *args: Any) -> None:
        self._loop.run_callback_threadsafe(function, *args)

    def run_in_worker(self, work: Callable[[], object]) -> Handle:
        task = _Work(self._loop, work)
        self._waiting.append(task)
        self._feed_later()
        return task

    def worker_gate(self) -> GreenletGate:
        return GreenletGate()

    def run_in_thread(self, work: Callable[[], object]) -> None:
        self._threads.submit(work)

    def run_coroutine(
        self, coroutine: Coroutine[Any, Any, Any], report: Report, context: Context
    ) -> Handle:
        return self._coroutines.run_coroutine(coroutine, report, context)

    @contextmanager
    def _kept_alive(self) -> Iterator[None]:
        """Keep a timer active: with nothing to wait for, the hub would end the program.

        This happens while only another thread works for the server.
        """
        alive = self._loop.timer(3600, 3600)
        alive.start(lambda: None)
        try:
            yield
        finally:
            alive.stop()
            alive.close()

    def _serves(self) -> None:
        self._looked.start(self._begin_slice)  # not for clients, whose turns a signal may cut
        self._serving = native.get_ident()
        hubs.entered(self._serving)

    def _served(self) -> None:
        if self._serving is not None:
            hubs.left(self._serving)
            self._serving = None

    def enter(self, begin: Begin) -> None:
        """Start the server on the running hub."""
        self._serves()
        started: Any = AsyncResult()
        begin(lambda error: started.set_exception(error) if error else started.set(None))
        with self._kept_alive():
            started.get()

    def leave(self, drain: Drain) -> None:
        ended: Any = AsyncResult()
        drain(ended.set)
        with self._kept_alive():
            ended.get()

    def run(self, start: Callable[[], object]) -> None:
        self._serves()
        with self._kept_alive():
            start()
            while not self._stopped.is_set():
                try:
                    self._stopped.wait()
                except SystemExit as error:  # from any greenlet: gevent raises it here
                    log_error(log, "a greenlet or callback of the service raised", error=error)

    def stop(self) -> None:
        self._stopped.set()

    def close(self) -> None:
        self._served()
        self._next_slice.close()
        self._looked.close()
        self._slice_end = inf  # remaining work runs without polls in between
        self._threads.close()
        self._coroutines.close()
        # A thread that destroys its hub while the interpreter exits would crash the interpreter.
        until = time.monotonic() + LAST_THREADS
        self._threads.join(until)
        self._coroutines.join(until)

    def forked(self) -> None:
        """In a child, whose hub goes on with the parent's greenlets: keep them from new calls."""
        if self._hub is gevent.get_hub():
            # As gevent's own `fork` does: without it, parent and child would share their watchers.
            gevent.reinit(self._hub)
        self._served()
        self._waiting.clear()
        self._next_slice.stop()
        while self._signals:
            self._signals.pop().cancel()

    def come_back(self, function: Callable[[], object]) -> None:
        self._coroutines.come_back(function)  # not in the hub, as the child may wait there

    def on_signal(self, number: signal.Signals, function: Callable[[], object]) -> None:
        self._signals.append(signal_handler(number, function))

    def _feed_later(self) -> None:
        if not self._feeding:
            self._feeding = True
            self._loop.run_callback(self._feed)

    def _begin_slice(self) -> None:
        """The hub has polled its descriptors: the next work begins a new slice."""
        self._slice_end = None

    def _next(self) -> None:
        self._begin_slice()
        self._loop.run_callback(self._feed)

    def _is_over(self) -> bool:
        """Whether the hub must poll its descriptors before more work begins."""
        now = time.monotonic()
        if self._slice_end is None:
            self._slice_end = now + SLICE
        return now >= self._slice_end

    def _feed(self) -> None:
        """Start a worker for the queue. Runs in the hub, when the last worker waits or ends."""
        self._feeding = False
        if not self._waiting or self._running >= self.workers:
            return
        if self._is_over():
            # The hub runs many callbacks before it polls again; a timer fires after the poll, and
            # the callbacks of the poll come next.
            self._feeding = True
            self._next_slice.start(self._next)
            return
        self._running += 1
        self._feed_later()
        # A raw greenlet: gevent.spawn records the caller's stack, which takes longer than a call.
        worker = greenlet(self._work)
        worker.waited = False
        worker.switch(worker)
        worker.waited = True  # or has ended

    def _count_references(self) -> int:
        return sys.getrefcount(self._at_work)

    def worker_is_fresh(self) -> bool:
        worker = getcurrent()
        if worker is not self._at_work or worker.waited:
            return False
        del worker
        return self._count_references() <= self._references

    def _work(self, worker: Any) -> None:
        """The function of a worker greenlet: run one piece of work after the other.

        The greenlet ends after work that has waited, or that has left a reference to the greenlet
        behind. Such a reference may be a Timeout, which would be thrown into the next piece of
        work; so the hub gets it, and logs it.
        """
        over = False
        while self._waiting and not over:
            task = self._waiting.popleft()
            task.greenlet = self._at_work = worker
            self._references = self._count_references()
            try:
                task.work()
            except gevent.GreenletExit:
                pass  # thrown just after the handler; within it, the work catches and reports it
            finally:
                fresh = self.worker_is_fresh()
                task.greenlet = None
            over = not fresh or self._is_over()
        self._running -= 1
        if self._waiting:
            self._feed_later()
