"""A blocking client under load: N threads that each wait for their call, or one with N calls outstanding.

With gevent's patches, which `generate` applies, the same threads are greenlets and wait as its client does.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from itertools import cycle
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Any

from .batch import Batch
from .callers import answer_blocking, call_blocking, run_blocking
from .firing import Firing
from .plan import REQUEST_REPLY
from .work import Work, prepared


def drive(work: Work) -> None:
    """Do it. Raises RuntimeError where calls are lost."""
    kept: dict[str, list[Any]] = {}
    try:
        for batch, stream, connect, name in work.all:
            if not name:
                own = connect()
                try:
                    _measure([own], batch, stream)
                finally:
                    work.close(own)
            else:
                if name not in kept:
                    kept[name] = [connect() for _ in range(work.connections)]
                _measure(kept[name], batch, stream)
            work.report(batch)
    finally:
        for clients in kept.values():
            for client in clients:
                work.close(client)


def _measure(clients: Sequence[Any], batch: Batch, stream: bool) -> None:
    batch.starts()
    if batch.cell.load.style == REQUEST_REPLY:
        invokes = [_collecting(client) if stream else prepared(client, batch).call for client in clients]
        _request_reply(invokes, batch)
    else:
        _fire_and_callback(clients, batch)
    run_blocking(clients[0].call, batch.ending())


def _collecting(client: Any) -> Callable[..., Any]:
    return lambda method, *args, **kwargs: list(client.stream(method, *args, **kwargs))


class _Crew:
    """Threads that stay: to start as many for each slice would cost as much as it does."""

    def __init__(self) -> None:
        self._queues: list[SimpleQueue[Callable[[], object]]] = []

    def work(self, jobs: Sequence[Callable[[], object]], patience: float) -> int:
        """Do all at once, each in a thread. How many have not ended in so many seconds."""
        ended: SimpleQueue[None] = SimpleQueue()
        while len(self._queues) < len(jobs):
            self._queues.append(SimpleQueue())
            threading.Thread(target=self._run, args=(self._queues[-1],), daemon=True).start()
        for queue, job in zip(self._queues, jobs, strict=False):
            queue.put(partial(_then, job, ended))
        left, until = len(jobs), monotonic() + patience
        with suppress(Empty):
            while left:
                ended.get(timeout=max(0.0, until - monotonic()))
                left -= 1
        return left

    def _run(self, queue: SimpleQueue[Callable[[], object]]) -> None:
        while True:
            queue.get()()


def _then(job: Callable[[], object], ended: SimpleQueue[None]) -> None:
    try:
        job()
    finally:
        ended.put(None)


_crew = _Crew()


def _request_reply(invokes: Sequence[Callable[..., Any]], batch: Batch) -> None:
    dues = iter(batch.dues)
    jobs = [
        partial(answer_blocking, invoke, caller, dues, batch.stops, time.sleep)
        if batch.cell.load.open
        else partial(call_blocking, invoke, caller)
        for caller, invoke in zip(batch.callers, cycle(invokes), strict=False)
    ]
    left = _crew.work(jobs, batch.patience)
    batch.ends()
    batch.check(left)


def _fire_and_callback(clients: Sequence[Any], batch: Batch) -> None:
    over = threading.Event()
    firing = Firing([prepared(client, batch) for client in clients], batch, over.set)
    if batch.cell.load.open:
        firing.open(time.sleep)
    else:
        firing.closed()
    over.wait(batch.patience)
    batch.check(firing.left)
