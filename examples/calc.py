"""A small service. Start it with `ringback serve examples/calc.py:service --backend NAME`.

NAME is asyncio, gevent, threading or twisted.
"""

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import ringback

service = ringback.Service("calc")


@service.method
def add(a: int, b: int) -> int:
    "Sum of two integers."
    return a + b


@service.method(inline=True)
def echo(value: Any) -> Any:
    "Return the value. It runs on the event loop, because it never blocks."
    return value


@service.method
async def nap(seconds: float) -> float:
    "Sleep in a coroutine, and return the requested time."
    await asyncio.sleep(seconds)
    return seconds


@service.method
def work(seconds: float) -> float:
    "Block in a worker, and return the requested time."
    time.sleep(seconds)
    return seconds


@service.method
def count(n: int) -> Iterator[int]:
    "The numbers below n, as a stream."
    yield from range(n)


@service.method
def total(numbers: Iterator[float]) -> float:
    "The sum of a stream of numbers."
    return sum(numbers)
