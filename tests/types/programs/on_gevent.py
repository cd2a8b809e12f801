"""What a user of the gevent client writes.

A line that a type checker has to refuse ends with `# wrong`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

import ringback
from ringback.clients.gevent import FiredFuture, connect
from ringback.testing import serving

service = ringback.Service("shop")


class Shop(Protocol):
    def add(self, a: int, b: int) -> int: ...
    def count(self, n: int) -> Iterator[int]: ...


class FiredShop(Protocol):
    def add(
        self, a: int, b: int, *, callback: Callable[[int], object] | None = None
    ) -> FiredFuture[int]: ...


with connect("tcp://127.0.0.1:5555", timeout=5.0) as client:
    shop = client.typed(Shop)
    total: int = shop.add(1, 2)
    for number in shop.count(3):
        total += number
    total += client.options(returns=int).call("add", 1, 2)
    total += client.options(returns=int).fire("add", 1, 2).get()
    total += client.typed(FiredShop).add(1, 2).get()
    word: str = client.typed(FiredShop).add(1, 2).get()  # wrong
    word = client.options(returns=int).fire("add", 1, 2).get()  # wrong
    text: str = shop.add(1, 2)  # wrong
    shop.add(1, "2")  # wrong
    shop.sub(1, 2)  # wrong

with serving(service, "gevent", client="gevent") as tested:
    total = tested.typed(Shop).add(1, 2)
    tested.typed(Shop).add(1)  # wrong
connect("tcp://127.0.0.1:5555", timeout="long")  # wrong
