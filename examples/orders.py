"""A service whose handlers wait, as for a database, to try `ringback tune`:

ringback tune examples/orders.py:service --scenario examples/orders_scenario.py
"""

import time

import ringback

service = ringback.Service("orders")


@service.method
def total(order: int) -> int:
    "The price of an order, after 20 ms of waiting."
    time.sleep(0.02)
    return 7 * order


@service.method(inline=True)
def currency() -> str:
    "The currency of all prices, without waiting."
    return "EUR"
