"""The store for coroutines: operations run in threads, so that the asyncio loop never blocks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar

from .locks.leases import Fence
from .locks.lock import Lock
from .operations import Changed, Operations, Versioned
from .pauses import LATEST, SOON
from .transactions import Transaction

T = TypeVar("T")


class AsyncState:
    """`State` with awaitable methods. Locks and transactions are the same objects, used in `async
    with`."""

    def __init__(self, state: Operations) -> None:
        self._state = state

    async def get(self, key: str, default: Any = None) -> Any:
        return await self._state.run(self._state.get, key, default)

    async def read(self, key: str) -> Versioned:
        return await self._state.run(self._state.read, key)

    async def put(
        self,
        key: str,
        value: Any,
        *,
        version: int | None = None,
        fence: Lock | Fence | None = None,
        ttl: float | None = None,
    ) -> int:
        return await self._state.run(
            lambda: self._state.put(key, value, version=version, fence=fence, ttl=ttl)
        )

    async def delete(
        self, key: str, *, version: int | None = None, fence: Lock | Fence | None = None
    ) -> int:
        return await self._state.run(lambda: self._state.delete(key, version=version, fence=fence))

    def transaction(self) -> Transaction:
        return self._state.transaction()

    async def transact(
        self,
        function: Callable[[Transaction], T],
        *,
        timeout: float | None = None,
    ) -> T:
        """`State.transact`. The function is a plain one and runs in a thread."""
        return await self._state.run(lambda: self._state.transact(function, timeout=timeout))

    async def update(
        self,
        key: str,
        function: Callable[[Any], Any],
        default: Any = None,
        *,
        timeout: float | None = None,
    ) -> Any:
        return await self._state.run(
            lambda: self._state.update(key, function, default, timeout=timeout)
        )

    def lock(
        self, name: str, *, lease: float = 10.0, timeout: float | None = None, renewed: bool = True
    ) -> Lock:
        return self._state.lock(name, lease=lease, timeout=timeout, renewed=renewed)

    async def renew(self, fence: Fence, lease: float = 10.0) -> bool:
        return await self._state.run(self._state.renew, fence, lease)

    async def release(self, fence: Fence) -> bool:
        return await self._state.run(self._state.release, fence)

    async def watch(self, prefix: str = "", *, since: int | None = None) -> AsyncIterator[Changed]:
        """`State.watch`.

        Without `since`, the watch starts when the iterator takes its first step.
        """
        if since is None:
            since = await self.version()
        wait = SOON
        while True:
            found, since = await self._state.run(self._state.changes_up_to, prefix, since)
            for change in found:
                yield change
            if found:
                wait = SOON
            else:
                await asyncio.sleep(wait)
                wait = min(wait * 1.5, LATEST)

    async def changes(self, prefix: str = "", *, since: int = 0) -> list[Changed]:
        return await self._state.run(lambda: self._state.changes(prefix, since=since))

    async def version(self) -> int:
        return await self._state.run(self._state.version)
