"""An asyncio client under load: N tasks that each await their call, or one task with N calls outstanding."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from .batch import Batch
from .work import Work, drive_async, fire_async


def drive(work: Work) -> None:
    """Do it. Raises RuntimeError where calls are lost."""
    asyncio.run(drive_async(work, _together, _fire, asyncio.sleep))


async def _together(batch: Batch, callers: list[Any]) -> None:
    done, left = await asyncio.wait(
        [asyncio.create_task(caller) for caller in callers], timeout=batch.patience
    )
    batch.check(len(left))
    for task in done:
        task.result()


async def _fire(clients: Sequence[Any], batch: Batch) -> None:
    over = asyncio.Event()
    firing = await fire_async(clients, batch, over.set, asyncio.sleep)
    try:
        async with asyncio.timeout(batch.patience):
            await over.wait()
    except TimeoutError:
        batch.check(firing.left)
