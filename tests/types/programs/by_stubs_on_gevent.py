"""The same of the gevent client."""

from __future__ import annotations

from ringback.clients.gevent import connect
from written_gevent import TeaShop, TeaShopFire

with connect("tcp://127.0.0.1:5555") as client:
    tea, fired = client.typed(TeaShop), client.typed(TeaShopFire)
    total: int = tea.add(1)
    total += fired.add(1).get()
    word: str = fired.add(1).get()  # wrong
    tea.add("1")  # wrong
