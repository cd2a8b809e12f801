"""A loop of another package: `selectors`, a heap of timers, and threads for handlers. A server on
it is as good as on ringback's own.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import os
import selectors
import time
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any

from ringback.backends.asyncio_thread import AsyncioThread
from ringback.backends.base import Handle, Loop, Report
from ringback.backends.workers import Workers

READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE


class Watch:
    def __init__(self, loop: FifthLoop, fd: int, event: int) -> None:
        self._loop, self._fd, self._event = loop, fd, event

    def cancel(self) -> None:
        self._loop.unwatch(self._fd, self._event)


class Timer:
    def __init__(self, function: Callable[..., object], args: tuple[Any, ...]) -> None:
        self.function, self.args, self.cancelled = function, args, False

    def cancel(self) -> None:
        self.cancelled = True


class FifthLoop(Loop):
    name = "fifth"

    def __init__(self, *, workers: int = 32) -> None:
        self.workers = self.threads = workers
        self._workers = Workers(workers)
        self._coroutines = AsyncioThread()
        self._selector = selectors.DefaultSelector()
        self._watches: dict[int, dict[int, Callable[[], object]]] = {}
        self._soon: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        self._timers: list[tuple[float, int, Timer]] = []
        self._count = itertools.count()
        self._stopped = False
        self._hears, self._rings = os.pipe()
        os.set_blocking(self._hears, False)
        os.set_blocking(self._rings, False)
        self.watch(self._hears, lambda: os.read(self._hears, 4096))

    def watch(self, fd: int, ready: Callable[[], object]) -> Handle:
        return self._watch(fd, READ, ready)

    def watch_writable(self, fd: int, ready: Callable[[], object]) -> Handle:
        return self._watch(fd, WRITE, ready)

    def _watch(self, fd: int, event: int, ready: Callable[[], object]) -> Watch:
        watches = self._watches.setdefault(fd, {})
        self._selector.modify(fd, sum({*watches, event})) if watches else self._selector.register(
            fd, event
        )
        watches[event] = ready
        return Watch(self, fd, event)

    def unwatch(self, fd: int, event: int) -> None:
        watches = self._watches.get(fd, {})
        if watches.pop(event, None) is not None:
            self._selector.modify(fd, sum(watches)) if watches else self._selector.unregister(fd)

    def call_soon(self, function: Callable[..., object], *args: Any) -> None:
        self._soon.append((function, args))

    def call_soon_threadsafe(self, function: Callable[..., object], *args: Any) -> None:
        self._soon.append((function, args))
        try:
            os.write(self._rings, b"\0")
        except BlockingIOError:
            pass  # it wakes as it is

    def call_later(self, seconds: float, function: Callable[..., object], *args: Any) -> Handle:
        timer = Timer(function, args)
        heapq.heappush(self._timers, (time.monotonic() + seconds, next(self._count), timer))
        return timer

    def run_in_worker(self, work: Callable[[], object]) -> None:
        self._workers.submit(work)

    def run_coroutine(
        self, coroutine: Coroutine[Any, Any, Any], report: Report, context: Context
    ) -> Handle:
        return self._coroutines.run_coroutine(coroutine, report, context)

    def run(self, start: Callable[[], object]) -> None:
        self._call(start)
        while not self._stopped:
            wait = (
                None
                if not self._timers
                else max(0.0, min(3600.0, self._timers[0][0] - time.monotonic()))
            )
            for key, events in self._selector.select(0 if self._soon else wait):
                for event in (READ, WRITE):
                    ready = self._watches.get(key.fd, {}).get(event)
                    if events & event and ready is not None:
                        self._call(ready)
            now = time.monotonic()
            while self._timers and self._timers[0][0] <= now:
                timer = heapq.heappop(self._timers)[2]
                if not timer.cancelled:
                    self._call(timer.function, *timer.args)
            for _ in range(len(self._soon)):
                function, args = self._soon.popleft()
                self._call(function, *args)

    def _call(self, function: Callable[..., object], *args: Any) -> None:
        try:
            function(*args)
        except Exception:
            logging.getLogger("fifth").exception("what the loop has called failed")

    def stop(self) -> None:
        self._stopped = True

    def close(self) -> None:
        self._workers.close()
        self._coroutines.close()
