"""What a user of the asyncio client writes.

A line that a type checker has to refuse ends with `# wrong`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Protocol

import ringback
from ringback.clients.asyncio import connect
from ringback.testing import serving

service = ringback.Service("shop")


class Shop(Protocol):
    async def add(self, a: int, b: int) -> int: ...
    def count(self, n: int) -> AsyncIterator[int]: ...


class FiredShop(Protocol):
    def add(
        self, a: int, b: int, *, callback: Callable[[int], object] | None = None
    ) -> asyncio.Future[int]: ...


async def main() -> None:
    async with connect("tcp://127.0.0.1:5555", timeout=5.0) as client:
        shop = client.typed(Shop)
        total: int = await shop.add(1, 2)
        async for number in shop.count(3):
            total += number
        other: int = shop.add(1, 2)  # wrong
        total += await client.options(returns=int).call("add", 1, 2)
        total += await client.options(returns=int).fire("add", 1, 2)
        async for number in client.options(returns=int).stream("count", 3):
            total += number
        fired = client.typed(FiredShop).add(1, 2, callback=lambda number: print(number + 1))
        total += await fired
        client.typed(FiredShop).add(1, 2, callback=lambda number: print(number.item))  # wrong
        other = client.typed(FiredShop).add(1, 2)  # wrong
        other = await client.options(returns=str).call("name")  # wrong
        text: str = await shop.add(1, 2)  # wrong
        await shop.add(1, "2")  # wrong
        await shop.sub(1, 2)  # wrong
        for _ in shop.count(3):  # wrong
            pass
    async with serving(service, client="asyncio") as tested:
        total = await tested.typed(Shop).add(1, 2)
        await tested.typed(Shop).add(1)  # wrong
    connect("tcp://127.0.0.1:5555", max_in_flight="many")  # wrong
