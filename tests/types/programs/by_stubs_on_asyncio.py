"""The same of the asyncio client."""

from __future__ import annotations

from collections.abc import AsyncIterator

from ringback.clients.asyncio import connect
from written_asyncio import Cash, TeaShop, TeaShopFire


async def numbers() -> AsyncIterator[float]:
    yield 0.5


async def main() -> None:
    async with connect("tcp://127.0.0.1:5555") as client:
        tea, fired = client.typed(TeaShop), client.typed(TeaShopFire)
        total: int = await tea.add(1)
        total += await fired.add(1, callback=lambda result: print(result + 1))
        async for each in tea.items(2):
            print(each.name)
        summed: float = await tea.total(numbers())
        print(summed, await tea.pay(Cash(1)))
        total = tea.add(1)  # wrong
        await tea.add("1")  # wrong
        for _ in tea.items(2):  # wrong
            pass
        word: str = await fired.add(1)  # wrong
