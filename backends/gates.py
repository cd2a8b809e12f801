"""Places to wait until somebody says go on: how those who take or give the items of a stream wait for its other end.

`open` lets one `wait` through, the one that waits or the next to come; several before it count as one. So whoever waits looks for
himself whether there is something for him, and waits again if not.
"""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

from . import native


class Gate(Protocol):
    """For what may block where it runs."""

    def wait(self) -> None: ...

    def open(self) -> None: ...


class AsyncGate(Protocol):
    """For coroutines."""

    async def wait(self) -> None: ...

    def open(self) -> None: ...


class ThreadGate:
    """For one thread of the operating system. Opened from one other thread."""

    def __init__(self) -> None:
        self._shut = native.allocate_lock()
        self._shut.acquire()

    def wait(self) -> None:
        self._shut.acquire()

    def open(self) -> None:
        if self._shut.locked():
            self._shut.release()


class AsyncioGate:
    """For one coroutine on an asyncio loop. Opened from any thread."""

    def __init__(self) -> None:
        self._open = False
        self._waiter: asyncio.Future[None] | None = None

    async def wait(self) -> None:
        waiter = self._waiter = asyncio.get_running_loop().create_future()
        if not self._open:  # after the waiter is there to be seen
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
