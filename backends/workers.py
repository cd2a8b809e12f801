"""Worker threads: where blocking handlers run, so that the loop does not block.

Shared by the asyncio, Twisted and threading loops, and by gevent for its native pool. A thread takes one piece of work at
a time: a long one delays nobody while another thread is free.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..runtime import forks
from . import native


class Workers:
    """At most `limit` threads, each started when work waits and no thread is free."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._queue: native.SimpleQueue[Callable[[], object] | None] = native.SimpleQueue()
        self._threads = 0
        # Work that waits or runs. It is counted where it comes and where it ends: how many threads are free cannot be told from what
        # they say themselves, as one that has just got work may not have come to say so.
        self._unfinished = 0
        self._lock = native.allocate_lock()
        self._running: list[Any] = []  # a lock of each thread, held until it has ended

    def submit(self, work: Callable[[], object]) -> None:
        """Raises RuntimeError where no thread can be started, and none is there."""
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
        """Every thread ends after the work it has in hand and what is queued before this."""
        with self._lock:
            for _ in range(self._threads):
                self._queue.put(None)
            self._threads = 0

    def join(self, until: float) -> None:
        """After `close`: wait for the threads to end, until that monotonic time at most."""
        native.join(self._running, until)

    def _run(self) -> None:
        generation = forks.generation
        while (work := self._queue.get()) is not None:
            try:
                work()
            finally:
                if forks.generation != generation:
                    forks.end("a worker thread")  # whatever the context: there is no other thread
                del work  # the next wait may be long: keep no argument or result alive
                with self._lock:
                    self._unfinished -= 1
