"""The asyncio client under load: N tasks that each await their call, or one task with N calls outstanding."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

from ..clients.asyncio import AsyncioClient, connect
from .caller import Batch, Firing, call_async
from .plan import REQUEST_REPLY, Plan
from .results import Result


def drive(plan: Plan, report: Callable[[Result], None]) -> None:
    """Measure the cells in order. Raises RuntimeError where calls are lost."""
    asyncio.run(_drive(plan, report))


async def _drive(plan: Plan, report: Callable[[Result], None]) -> None:
    client = connect(plan.endpoint, timeout=plan.timeout, max_in_flight=plan.max_in_flight)
    try:
        for cell in plan.cells:
            batch = Batch(plan, cell)
            await (_request_reply if cell.style == REQUEST_REPLY else _fire_and_callback)(client, batch)
            report(batch.result())
    finally:
        await client.close(now=True)


async def _request_reply(client: AsyncioClient, batch: Batch) -> None:
    tasks = [asyncio.create_task(call_async(client, caller)) for caller in batch.callers]
    batch.check(len((await asyncio.wait(tasks, timeout=batch.patience))[0]))


async def _fire_and_callback(client: AsyncioClient, batch: Batch) -> None:
    loop = asyncio.get_running_loop()
    ended: list[asyncio.Future[None]] = [loop.create_future() for _ in batch.callers]
    for caller, future in zip(batch.callers, ended, strict=True):
        Firing(client, caller, partial(future.set_result, None)).fire()
    batch.check(len((await asyncio.wait(ended, timeout=batch.patience))[0]))
