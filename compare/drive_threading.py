"""The blocking client under load: N threads that each wait for their call, or one thread with N calls outstanding."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from ..clients.threading import ThreadingClient, connect
from .caller import Batch, Firing, call
from .plan import REQUEST_REPLY, Plan
from .results import Result


def drive(plan: Plan, report: Callable[[Result], None]) -> None:
    """Measure the cells in order. Raises RuntimeError where calls are lost."""
    client = connect(plan.endpoint, timeout=plan.timeout, max_in_flight=plan.max_in_flight)
    try:
        for cell in plan.cells:
            batch = Batch(plan, cell)
            (_request_reply if cell.style == REQUEST_REPLY else _fire_and_callback)(client, batch)
            report(batch.result())
    finally:
        client.close(now=True)


def _request_reply(client: ThreadingClient, batch: Batch) -> None:
    threads = [threading.Thread(target=call, args=(client, caller), daemon=True) for caller in batch.callers]
    end = time.monotonic() + batch.patience
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
    batch.check(sum(not thread.is_alive() for thread in threads))


def _fire_and_callback(client: ThreadingClient, batch: Batch) -> None:
    ended = [threading.Event() for _ in batch.callers]
    end = time.monotonic() + batch.patience
    for caller, event in zip(batch.callers, ended, strict=True):
        Firing(client, caller, event.set).fire()
    batch.check(sum(event.wait(max(0.0, end - time.monotonic())) for event in ended))
