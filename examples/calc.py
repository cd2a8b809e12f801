"""A small service: `ringback serve examples/calc.py:service --backend asyncio` (or gevent, threading, twisted)."""

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
    "The value itself; it runs on the event loop, as it never blocks."
    return value


@service.method
async def nap(seconds: float) -> float:
    "Sleep as a coroutine, and return how long it was asked to."
    await asyncio.sleep(seconds)
    return seconds


@service.method
def work(seconds: float) -> float:
    "Sleep as blocking code does, in a worker."
    time.sleep(seconds)
    return seconds


@service.method
def count(n: int) -> Iterator[int]:
    "The numbers below n, as a stream."
    yield from range(n)


@service.method
def total(numbers: Iterator[float]) -> float:
    "The sum of numbers that come as a stream."
    return sum(numbers)
