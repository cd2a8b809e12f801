"""What a user of the Twisted client writes.

A line that a type checker has to refuse ends with `# wrong`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

import ringback
from ringback.clients.twisted import connect
from ringback.testing import serving
from twisted.internet.defer import Deferred

service = ringback.Service("shop")


class Shop(Protocol):
    def add(self, a: int, b: int) -> Deferred[int]: ...
    def count(self, n: int) -> AsyncIterator[int]: ...


async def main() -> None:
    async with connect("tcp://127.0.0.1:5555", timeout=5.0) as client:
        shop = client.typed(Shop)
        total: int = await shop.add(1, 2)
        async for number in shop.count(3):
            total += number
        total += await client.options(returns=int).call("add", 1, 2)
        total += await client.options(returns=int).fire("add", 1, 2)
        text: str = await client.options(returns=int).call("add", 1, 2)  # wrong
        text = await shop.add(1, 2)  # wrong
        other: int = shop.add(1, 2)  # wrong
        await shop.add(1, "2")  # wrong
        await shop.sub(1, 2)  # wrong
    async with serving(service, client="twisted") as tested:
        total = await tested.typed(Shop).add(1, 2)
        await tested.typed(Shop).add(1)  # wrong
    connect("tcp://127.0.0.1:5555", zone=7)  # wrong
