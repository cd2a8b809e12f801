"""The same of the Twisted client."""

from __future__ import annotations

from ringback.clients.twisted import connect
from twisted.internet.defer import Deferred
from written_twisted import TeaShop, TeaShopFire


async def main() -> None:
    async with connect("tcp://127.0.0.1:5555") as client:
        tea, fired = client.typed(TeaShop), client.typed(TeaShopFire)
        called: Deferred[int] = tea.add(1)
        total: int = await called
        total += await fired.add(1, callback=lambda result: print(result + 1))
        async for each in tea.items(2):
            print(each.name)
        word: str = await tea.add(1)  # wrong
        await fired.add("1")  # wrong
