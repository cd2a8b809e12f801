"""Worker threads, which run blocking handlers so that the event loop does not block.

The asyncio, Twisted and threading loops share them, and gevent uses them for its native pool. A
thread takes one piece of work at a time: long work delays no other while a thread is free.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..runtime import forks
from . import native


class Workers:
    """A pool of at most `limit` threads; a thread starts when work waits and no thread is free."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._queue: native.SimpleQueue[Callable[[], object] | None] = native.SimpleQueue()
        self._threads = 0
        # Work that waits or runs, counted at submission and at its end. A count of free threads
        # kept by the threads would be late: a thread that has just received work may not have
        # updated it yet.
        self._unfinished = 0
        self._lock = native.allocate_lock()
        self._running: list[Any] = []  # one lock per thread, held until the thread ends

    def submit(self, work: Callable[[], object]) -> None:
        """Queue the work. Raises RuntimeError if there is no thread and none can be started."""
        with self._lock:
            self._unfinished += 1
            start = self._threads < min(self.limit, self._unfinished)
            self._threads += start
        if start:
            try:
                self._running.append(native.start_thread(self._run))
            except RuntimeError:
                with self._lock:
                    self._threads -= 1
                    if not self._threads:
                        self._unfinished -= 1
                        raise
        self._queue.put(work)

    def close(self) -> None:
        """Let each thread end after its current work and the work queued so far."""
        with self._lock:
            for _ in range(self._threads):
                self._queue.put(None)
            self._threads = 0

    def join(self, until: float) -> None:
        """After `close`: wait until the threads end, at most until the monotonic time `until`."""
        native.join(self._running, until)

    def _run(self) -> None:
        generation = forks.generation
        while (work := self._queue.get()) is not None:
            try:
                work()
            finally:
                if forks.generation != generation:
                    # A forked child, which has no thread but this.
                    forks.end("a worker thread")
                del work  # keep no argument or result alive during the next wait
                with self._lock:
                    self._unfinished -= 1
