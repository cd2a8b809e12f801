"""Worker threads: where blocking handlers run, so that the loop does not block.

Shared by the asyncio, Twisted and threading loops, and by gevent for its native pool. A thread takes one piece of work at
a time: a long one delays nobody while another thread is free.
"""

from __future__ import annotations

from collections.abc import Callable

from . import native


class Workers:
    """At most `limit` threads, each started when work waits and no thread is free."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._queue: native.SimpleQueue[Callable[[], object] | None] = native.SimpleQueue()
        self._threads = 0
        self._idle = 0  # only a hint: read and written without a lock, and one thread too many does no harm
        self._lock = native.allocate_lock()

    def submit(self, work: Callable[[], object]) -> None:
        self._queue.put(work)
        if self._threads < self.limit and self._queue.qsize() > self._idle:
            with self._lock:
                if self._threads < self.limit:
                    self._threads += 1
                    native.start_thread(self._run)

    def close(self) -> None:
        """Every thread ends after the work it has in hand and what is queued before this."""
        with self._lock:
            for _ in range(self._threads):
                self._queue.put(None)
            self._threads = 0

    def _run(self) -> None:
        while True:
            self._idle += 1
            work = self._queue.get()
            self._idle -= 1
            if work is None:
                return
            work()
            del work  # the next wait may be long: keep no argument or result alive
