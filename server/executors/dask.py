"""The executor for a Dask cluster, through a client process of our own (`dask_client.py`).

Dask's client brings its own loop and threads, which conflict with gevent, and libraries that the
server does not need otherwise. So every backend sends packed jobs to that process through a pipe,
and receives the results.
"""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import os
import pickle
import socket
import threading
from multiprocessing.connection import Connection, wait
from queue import SimpleQueue
from typing import Any

from ... import errors
from ...backends.base import Handle, Report
from ..options import ExecutorOptions
from .base import Executor, Failures, Job
from .orders import CancelOrder, JobAnswer, JobOrder

# Calls that Dask's own scheduler holds at once. Further calls wait here, in the order of our
# scheduler.
AT_ONCE = 1000

_ENDED = "the Dask client process has ended"


def serve(channel: Connection, address: str) -> None:
    """The main function of the client process, the only one that imports Dask."""
    from .dask_client import run

    run(channel, address)


class _Running:
    """A handle to cancel one call. A call that Dask has begun is abandoned, not stopped."""

    def __init__(self, orders: SimpleQueue[Any], number: int) -> None:
        self._orders = orders
        self._number = number

    def cancel(self) -> None:
        self._orders.put(CancelOrder(self._number))


class DaskExecutor(Executor):
    """Runs jobs on the cluster of one Dask scheduler.

    A client process that has died is replaced. Its calls end as `Unavailable`, and may have run.
    """

    slots = AT_ONCE

    def __init__(self, options: ExecutorOptions) -> None:
        assert options["dask"] is not None
        self._address = options["dask"]
        self._numbers = itertools.count(1)
        self._calls: dict[int, tuple[Job, Report]] = {}
        self._orders: SimpleQueue[JobOrder | CancelOrder | None] = SimpleQueue()
        self._failures = Failures()
        # A thread, because the pipe may block; a greenlet if gevent has patched threads.
        threading.Thread(target=self._talk, name="ringback-dask", daemon=True).start()

    def run(self, job: Job, report: Report) -> Handle:
        number = next(self._numbers)
        self._calls[number] = job, report
        try:
            packed = pickle.dumps(job, pickle.HIGHEST_PROTOCOL)
        except Exception as error:  # arguments that cannot be pickled
            self._end(
                number, None, errors.RemoteError(errors.name_of(error), errors.text_of(error))
            )
        else:
            self._orders.put(
                JobOrder(number, job.call.method, packed, job.priority, dict(job.resources))
            )
        return _Running(self._orders, number)

    def close(self) -> None:
        self._orders.put(None)

    def _talk(self) -> None:
        """Start the client process, and send it the orders."""
        client, ours, sent = self._start()
        while (order := self._orders.get()) is not None:
            if not client.is_alive():
                client, ours, sent = self._start()
            if isinstance(order, JobOrder):
                sent.add(order.number)
            try:
                ours.send(order)
            except OSError:  # it has just died
                if isinstance(order, JobOrder):
                    self._end(order.number, None, errors.Unavailable(_ENDED, started=False))
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(ours.fileno())) as pipe:
            # The client ends at this. Closing would not do while another thread waits for the pipe.
            pipe.shutdown(socket.SHUT_RDWR)
        client.join(5.0)
        client.kill()

    def _start(self) -> tuple[Any, Connection, set[int]]:
        """Start a client. Returns its process, our end of the pipe, and its unfinished calls."""
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        for end in (ours, theirs):
            os.set_blocking(end.fileno(), True)  # a pair of gevent's sockets does not block
        client = context.Process(target=serve, args=(theirs, self._address), daemon=True)
        client.start()
        theirs.close()
        sent: set[int] = set()
        listen = threading.Thread(
            target=self._listen, args=(ours, sent), name="ringback-dask-answers", daemon=True
        )
        listen.start()
        return client, ours, sent

    def _listen(self, ours: Connection, sent: set[int]) -> None:
        """Receive results until the client ends."""
        try:
            while True:
                wait([ours])  # patched by gevent; a blocking read would block its hub
                answer: JobAnswer = ours.recv()
                sent.discard(answer.number)
                self._answered(answer)
        except (EOFError, OSError):
            pass
        for number in list(sent):
            self._end(number, None, errors.Unavailable(_ENDED, started=None))

    def _answered(self, answer: JobAnswer) -> None:
        if answer.error is not None:
            self._end(answer.number, None, answer.error)
            return
        if answer.number not in self._calls:
            return
        job, _ = self._calls[answer.number]
        try:
            result, failed = pickle.loads(answer.packed)  # noqa: S301 - a trusted cluster
        except Exception as error:
            result, failed = None, errors.RemoteError(errors.name_of(error), errors.text_of(error))
        else:
            failed = None if failed is None else self._failures.error(job, failed)
        self._end(answer.number, result, failed)

    def _end(self, number: int, result: Any, error: BaseException | None) -> None:
        call = self._calls.pop(number, None)
        if call is not None:
            call[1](result, error)
