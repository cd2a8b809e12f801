"""Waiting of a blocking client: N threads that each wait for a call, or one with N calls in flight.

With gevent's patches, which `generate` applies, these threads are greenlets.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Any

from .batch import Batch
from .firing import Start

Job = Coroutine[Any, Any, None]

waits = False


def run(main: Job) -> None:
    """Run the coroutine to its end. It never suspends, as all its waits block."""
    try:
        main.send(None)
    except StopIteration:
        return
    raise RuntimeError("the coroutine of a blocking client suspended; it must not")


async def sleep(seconds: float) -> None:
    time.sleep(seconds)


def items(stream: Callable[..., Any]) -> Callable[..., Any]:
    return lambda method, *args, **kwargs: list(stream(method, *args, **kwargs))


async def until_over(start: Start, batch: Batch) -> None:
    over = threading.Event()
    await start(over.set)
    over.wait(batch.patience)


async def together(callers: Sequence[Job], batch: Batch) -> int:
    return _crew.work(callers, batch.patience)


class _Crew:
    """Threads kept for all slices: starting them for each would cost as much as the slice."""

    def __init__(self) -> None:
        self._queues: list[SimpleQueue[tuple[Job, SimpleQueue[None]]]] = []

    def work(self, jobs: Sequence[Job], patience: float) -> int:
        """Run all jobs concurrently, each in a thread. Returns how many have not ended after
        `patience` seconds."""
        ended: SimpleQueue[None] = SimpleQueue()
        while len(self._queues) < len(jobs):
            self._queues.append(SimpleQueue())
            threading.Thread(target=self._run, args=(self._queues[-1],), daemon=True).start()
        for queue, job in zip(self._queues, jobs, strict=False):
            queue.put((job, ended))
        left, until = len(jobs), monotonic() + patience
        with suppress(Empty):
            while left:
                ended.get(timeout=max(0.0, until - monotonic()))
                left -= 1
        return left

    def _run(self, queue: SimpleQueue[tuple[Job, SimpleQueue[None]]]) -> None:
        while True:
            job, ended = queue.get()
            try:
                run(job)
            finally:
                ended.put(None)


_crew = _Crew()
