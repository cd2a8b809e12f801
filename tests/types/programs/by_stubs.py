"""What a user of the blocking client writes with the module of `ringback stubs`. A line that a type
checker has to refuse ends with
`# wrong`."""

from __future__ import annotations

import datetime
from decimal import Decimal

import ringback
from written_threading import Card, Cash, Filter, Item, TeaShop, TeaShopFire

with ringback.connect("tcp://127.0.0.1:5555") as client:
    tea = client.typed(TeaShop)
    fired = client.typed(TeaShopFire)
    item = Item("tea", Decimal("2.5"), size="large")
    total: int = tea.add(1)
    ordered: Item = tea.order(item, datetime.datetime(2026, 1, 2), "soon", urgent=True, more=2)[1]
    paid = [each.amount for each in tea.pay(Card("1", class_="credit")) if isinstance(each, Cash)]
    for each in tea.items(2):
        name: str = each.name
    summed: float = tea.total(iter([0.5]))
    closed: bool = tea.accounts.close("ada")
    later = fired.add(
        1, callback=lambda result: print(result + 1), errback=lambda error: print(error.args)
    )
    total += later.result()
    found = tea.find(Filter(text="tea"))
    tea.add("1")  # wrong
    tea.add(1, 2, 3)  # wrong
    tea.sub(1)  # wrong
    Item("tea", size="huge")  # wrong
    tea.order(item=item, when=datetime.datetime(2026, 1, 2))  # wrong
    text: str = tea.add(1)  # wrong
    tea.pay(item)  # wrong
    tea.total([0.5])  # wrong
    fired.items(2)  # wrong
    fired.add(1, callback=lambda result: print(result.name))  # wrong
    word: str = fired.add(1).result()  # wrong
    tea.accounts.open("ada")  # wrong
