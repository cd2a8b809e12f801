"""What a user of the blocking client writes.

A line that a type checker has to refuse ends with `# wrong`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import ringback
from ringback.testing import serving

service = ringback.Service("shop")


@dataclass
class Order:
    item: str
    amount: int


class Accounts(Protocol):
    def close(self, name: str) -> bool: ...


class Shop(Protocol):
    accounts: Accounts

    def add(self, a: int, b: int) -> int: ...
    def order(self, item: str, *, amount: int = 1) -> Order: ...
    def count(self, n: int) -> Iterator[int]: ...


@service.method
def remaining() -> float | None:
    call = ringback.current_call()
    call.state.put("key", call.user)
    return call.remaining()


with ringback.connect("tcp://127.0.0.1:5555", timeout=5.0, max_in_flight=10) as client:
    shop = client.typed(Shop)
    total: int = shop.add(1, 2)
    amount: int = shop.order("tea", amount=2).amount
    closed: bool = shop.accounts.close("ada")
    for number in shop.count(3):
        total += number
    text: str = shop.add(1, 2)  # wrong
    shop.add(1, "2")  # wrong
    shop.add(1)  # wrong
    shop.sub(1, 2)  # wrong
    shop.order("tea").price  # wrong
    shop.accounts.open("ada")  # wrong
    word: str = next(shop.count(3))  # wrong
    view = client.options(timeout=None, priority=1).typed(Shop)
    orders = client.options(returns=Order, timeout=1.0)
    amount = orders.call("order", "tea").amount
    fired: int = (
        orders.fire("order", "tea", callback=lambda order: print(order.item)).result().amount
    )
    for order in orders.options(priority=1).stream("orders"):
        amount += order.amount
    numbers: list[int] = client.options(returns=list[int]).call("numbers")
    either = client.options(returns=Order | None).call("order", "tea")
    orders.call("order", "tea").price  # wrong
    orders.fire("order", "tea", callback=lambda order: print(order.price))  # wrong
    texts: list[str] = client.options(returns=list[int]).call("numbers")  # wrong
    client.options(timeoutt=5.0)  # wrong
    client.options(priority="high")  # wrong

ringback.connect("tcp://127.0.0.1:5555", max_size="large")  # wrong
ringback.connect("tcp://127.0.0.1:5555", policyy="round-robin")  # wrong
ringback.Server(service, "tcp://127.0.0.1:*", backend="threading", workers=8)
ringback.Server(service, workerss=8)  # wrong
ringback.Server(service, max_connections="many")  # wrong
ringback.serve(service, backnd="gevent")  # wrong

with serving(service, "asyncio", state="memory://") as tested:
    tested.typed(Shop).add(1, 2)
    endpoint: str = tested.server.endpoint
    tested.typed(Shop).add("1")  # wrong
serving(service, worker=8)  # wrong
