"""Waiting of an asyncio client: N tasks that each await a call, or one task with N calls in
flight."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any

from .batch import Batch
from .firing import Start

waits = True
run = asyncio.run
sleep = asyncio.sleep


async def together(callers: Sequence[Coroutine[Any, Any, None]], batch: Batch) -> int:
    done, left = await asyncio.wait(list(map(asyncio.create_task, callers)), timeout=batch.patience)
    for task in done:
        task.result()
    return len(left)


async def until_over(start: Start, batch: Batch) -> None:
    over = asyncio.Event()
    await start(over.set)
    with suppress(TimeoutError):
        async with asyncio.timeout(batch.patience):
            await over.wait()


def items(stream: Callable[..., Any]) -> Callable[..., Any]:
    async def collect(method: str, *args: Any, **kwargs: Any) -> list[Any]:
        return [item async for item in stream(method, *args, **kwargs)]

    return collect
