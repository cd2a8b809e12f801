"""The service of the tests of metrics: a call of each kind and each ending."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator

import ringback

service = ringback.Service("counted")


@service.method(inline=True)
def echo(value: int) -> int:
    return value


@service.method
def work(value: int) -> int:
    return value


@service.method
async def nap(seconds: float) -> float:
    await asyncio.sleep(seconds)
    return seconds


@service.method
def wait(seconds: float) -> None:
    time.sleep(seconds)


@service.method(inline=True)
def block(seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:  # (on gevent, a sleep would let others run)
        pass


@service.method
def fail(code: str) -> None:
    raise ringback.errors.CallError("as it was asked", code=code)


@service.method(inline=True)
def fail_inline() -> None:
    raise KeyError("x")


@service.method
def count(n: int) -> Iterator[int]:
    yield from range(n)


@service.method(cache=60.0)
def cached(value: int) -> int:
    return value


@service.method(limit=2)
def limited(value: int) -> int:
    return value


@service.method(inline=True, readonly=True)
def pid() -> int:
    return os.getpid()
