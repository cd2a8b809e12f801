"""The service of the tests of caching at the server: handlers that count their runs, and end when
they are told to.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Iterator

import ringback
from ringback import errors

service = ringback.Service("keeping")
intercepted = ringback.Service("intercepted")

_runs: Counter[str] = Counter()
_open: set[str] = set()
_seen: list[tuple[str, str, object]] = []


@service.method(inline=True)
def runs(key: str) -> int:
    return _runs[key]


@service.method(inline=True)
def open_gate(key: str) -> None:
    _open.add(key)


@service.method(inline=True)
def shut_gate(key: str) -> None:
    _open.discard(key)


@service.method(inline=True)
def forget(tags: list[str]) -> None:
    service.invalidate(*tags)


def _run(key: str) -> int:
    _runs[key] += 1
    return _runs[key]


def _tags(key: str, *_: object, **__: object) -> list[str]:
    return [f"key:{key}", "gated"]


@service.method(cache=60)
def plain(key: str, other: int = 0) -> int:
    return _run(key)


@service.method(cache=60, inline=True)
def inline(key: str, other: int = 0) -> int:
    return _run(key)


@service.method(cache=60)
async def coroutine(key: str, other: int = 0) -> int:
    await asyncio.sleep(0)
    return _run(key)


@service.method(cache=ringback.Cache(60, tags=_tags))
def gated(key: str) -> int:
    "Ends when its gate is open."
    number = _run(key)
    while key not in _open:
        time.sleep(0.005)
    return number


@service.method(cache=ringback.Cache(60, tags=_tags))
async def gated_coroutine(key: str) -> int:
    number = _run(key)
    while key not in _open:
        await asyncio.sleep(0.005)
    return number


@service.method(cache=ringback.Cache(0.05, stale=60))
def soon_stale(key: str) -> int:
    number = _run(key)
    while number > 1 and key not in _open:
        time.sleep(0.005)
    return number


@service.method(cache=ringback.Cache(0.05, stale=60), inline=True)
def soon_stale_inline(key: str) -> int:
    return _run(key)


@service.method(cache=60)
def failing(key: str) -> int:
    number = _run(key)
    while key not in _open:
        time.sleep(0.005)
    raise errors.Aborted(f"run {number}")


@service.method(cache=60)
def large(size: int) -> bytes:
    _run("large")
    return bytes(size)


@service.method(cache=60)
def length(key: str, data: bytes) -> int:
    _run(key)
    return len(data)


@service.method(cache=60)
def total(key: str, numbers: Iterator[int]) -> int:
    _run(key)
    return sum(numbers)


@service.method(cache=ringback.Cache(60, entries=2))
def few(key: str, number: int) -> int:
    return _run(key)


@service.method(cache=60)
def mutable(key: str) -> list[int]:
    return [_run(key)]


@service.method
def told_by_a_thread(key: str) -> int:
    "Invalidates in a thread of its own, and answers when that has returned."
    thread = threading.Thread(target=service.invalidate, args=(f"key:{key}",))
    thread.start()
    thread.join()
    return _runs[key]


@intercepted.use
def seeing(call):
    if call.metadata.get("refused"):
        raise errors.PermissionDenied("no")
    result = yield
    _seen.append((call.method, str(call.metadata.get("user")), result))
    if call.metadata.get("user") == "root":
        return {"changed": result}
    return None


@intercepted.method(inline=True)
def seen() -> list[list[object]]:
    return [list(each) for each in _seen if each[0] == "kept"]


@intercepted.method(cache=60)
def kept(key: str) -> list[int]:
    return [_run(key)]
