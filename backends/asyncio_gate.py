"""The gate for coroutines on asyncio, in a file of its own because it imports asyncio."""

from __future__ import annotations

import asyncio
from typing import Any


class AsyncioGate:
    """A gate for one coroutine on an asyncio loop. Any thread may open it."""

    def __init__(self) -> None:
        self._open = False
        self._waiter: asyncio.Future[None] | None = None

    async def wait(self) -> None:
        waiter = self._waiter = asyncio.get_running_loop().create_future()
        if not self._open:  # checked after `_waiter` is set, so that `open` in a thread finds it
            await waiter
        self._waiter = None
        self._open = False

    def open(self) -> None:
        self._open = True
        waiter = self._waiter
        if waiter is None:
            return
        loop = waiter.get_loop()
        if asyncio._get_running_loop() is loop:
            _settle(waiter)
        elif not loop.is_closed():
            loop.call_soon_threadsafe(_settle, waiter)


def _settle(waiter: asyncio.Future[Any]) -> None:
    if not waiter.done():
        waiter.set_result(None)
