"""The service of the tests of scheduling: handlers that tell how many of them ran at once, and in
what order they began.
"""

from __future__ import annotations

import asyncio
import ctypes
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import ringback

service = ringback.Service("scheduled")

_lock = threading.Lock()
_now: dict[str, int] = {}
_most: dict[str, int] = {}
_began: list[int] = []


@contextmanager
def counted(name: str) -> Iterator[None]:
    with _lock:
        _now[name] = _now.get(name, 0) + 1
        _most[name] = max(_most.get(name, 0), _now[name])
    try:
        yield
    finally:
        with _lock:
            _now[name] -= 1


@service.method(inline=True)
def most(name: str) -> int:
    "How many ran at once."
    return _most.get(name, 0)


@service.method(inline=True)
def began() -> list[int]:
    return list(_began)


@service.method
def work(seconds: float, number: int = 0) -> int:
    _began.append(number)
    time.sleep(seconds)
    return number


@service.method(priority=5)
def urgent(seconds: float, number: int = 0) -> int:
    return work(seconds, number)


@service.method
def block(seconds: float) -> None:
    "Does not let a hub of gevent's do anything else meanwhile."
    with counted("block"):
        ctypes.CDLL(None).usleep(int(seconds * 1e6))


@service.method(resources={"db": 1})
def one(seconds: float) -> None:
    with counted("db"):
        time.sleep(seconds)


@service.method(resources={"db": 4})
async def four(seconds: float) -> None:
    with counted("db by four"):
        await asyncio.sleep(seconds)


@service.method(resources={"gpu": 0.5})
async def half(seconds: float) -> None:
    with counted("gpu"):
        await asyncio.sleep(seconds)


@service.method(resources={"db": 5})
def too_much() -> None:
    raise AssertionError("this cannot run")


@service.method(limit=2)
def two_defs(seconds: float) -> None:
    with counted("two_defs"):
        time.sleep(seconds)


@service.method(limit=2)
async def two_coroutines(seconds: float) -> None:
    with counted("two_coroutines"):
        await asyncio.sleep(seconds)


@service.method(limit=2)
def two_streams(items: int) -> Iterator[int]:
    with counted("two_streams"):
        yield from range(items)


@service.method(limit="adaptive")
def learned(seconds: float) -> None:
    time.sleep(seconds)
