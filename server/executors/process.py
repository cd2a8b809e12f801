"""The executor for processes of this machine, by Pebble.

A crash ends only one call. A call that is cancelled or passes its deadline is stopped. Each process
is spawned and imports the service's module; arguments and results are pickled.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError
from queue import SimpleQueue
from typing import Any

from pebble import ProcessExpired, ProcessPool

from ... import errors
from ...backends.base import Handle, Report
from ..options import ExecutorOptions
from .base import Executor, Failures, Job
from .elsewhere import work


class _Running:
    """One call. The pool's thread calls `begin` and `stop`; the serving loop calls `cancel`."""

    def __init__(self, executor: ProcessExecutor, job: Job, report: Report) -> None:
        self._executor = executor
        self._job = job
        self._report = report
        self._future: Any = None

    def begin(self) -> None:
        try:
            self._future = self._executor.scheduled(self._job)
        except Exception as error:
            text = f"no worker process for {self._job.call.method}: {error}"
            self._report(None, errors.Unavailable(text, started=False))
        else:
            self._future.add_done_callback(self._done)

    def stop(self) -> None:
        if self._future is not None:
            self._future.cancel()

    def cancel(self) -> None:
        self._executor.orders.put(self.stop)

    def _done(self, future: Any) -> None:
        self._report(*self._executor.outcome(self._job, future))


class ProcessExecutor(Executor):
    """Runs jobs in `slots` processes; one that dies or is stopped is replaced.

    Pebble's functions may block, and the start of the pool is slow, so one thread calls them in
    order. If gevent has patched threads, that thread is a greenlet, and so are Pebble's own.
    """

    def __init__(self, options: ExecutorOptions) -> None:
        self.slots = options["worker_processes"] or os.cpu_count() or 1
        self._memory = options["worker_memory"]
        self._pool = self._new_pool()
        self.orders: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self._failures = Failures()
        threading.Thread(target=self._talk, name="ringback-processes", daemon=True).start()

    def run(self, job: Job, report: Report) -> Handle:
        running = _Running(self, job, report)
        self.orders.put(running.begin)
        return running

    def close(self) -> None:
        self.orders.put(None)

    def _talk(self) -> None:
        _ = self._pool.active  # starts it
        while (order := self.orders.get()) is not None:
            order()
        self._pool.stop()  # type: ignore[no-untyped-call]
        self._pool.join()

    def _new_pool(self) -> ProcessPool:
        return ProcessPool(
            max_workers=self.slots,
            initializer=_begin,
            initargs=(self._memory,),
            context=multiprocessing.get_context("spawn"),
        )

    def scheduled(self, job: Job) -> Any:
        """Give the job to the pool, and return its future. Raises the pool's own errors."""
        if not self._pool.active:
            # Pebble abandons the whole pool when an idle process dies.
            self._pool.stop()  # type: ignore[no-untyped-call]
            self._pool.join()
            self._pool = self._new_pool()
        return self._pool.schedule(work, args=(job,))

    def outcome(self, job: Job, future: Any) -> tuple[Any, BaseException | None]:
        """The result and the error of a finished job, for its report."""
        try:
            result, failed = future.result()
        except CancelledError:
            return None, errors.Cancelled(f"the call of {job.call.method} was cancelled")
        except ProcessExpired as error:
            text = f"the process in which {job.call.method} ran ended with status {error.exitcode}"
            return None, errors.RemoteError("ProcessExpired", text)
        except BaseException as error:  # arguments or a result that cannot be pickled
            return None, error
        return (result, None) if failed is None else (None, self._failures.error(job, failed))


def _begin(memory: int | None) -> None:
    """Initialize a worker process, before its first call. `memory`: bytes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the server, which drains
    if memory is not None:
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
