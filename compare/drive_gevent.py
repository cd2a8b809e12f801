"""The gevent client under load: N greenlets that each wait for their call, or one greenlet with N calls outstanding."""

from __future__ import annotations

from collections.abc import Callable

import gevent
from gevent.event import Event

from ..clients.gevent import GeventClient, connect
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


def _request_reply(client: GeventClient, batch: Batch) -> None:
    greenlets = [gevent.spawn(call, client, caller) for caller in batch.callers]
    batch.check(len(gevent.joinall(greenlets, timeout=batch.patience)))


def _fire_and_callback(client: GeventClient, batch: Batch) -> None:
    ended = [Event() for _ in batch.callers]
    for caller, event in zip(batch.callers, ended, strict=True):
        Firing(client, caller, event.set).fire()
    batch.check(len(gevent.wait(ended, timeout=batch.patience)))
