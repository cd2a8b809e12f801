"""A service whose methods tell what is known of each call of a map."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import Future
from contextvars import ContextVar

import ringback

service = ringback.Service("mapped")
_ran: list[str] = []
_at_once = _most = 0
_lock = threading.Lock()
_gate = threading.Event()
_seen: ContextVar[str] = ContextVar("seen", default="nothing")


def run(name: str) -> str:
    _ran.append(name)
    return name


def _held(seconds: float) -> None:
    global _at_once, _most
    with _lock:
        _at_once += 1
        _most = max(_most, _at_once)
    time.sleep(seconds)
    with _lock:
        _at_once -= 1


@service.method(inline=True)
def told() -> list[str]:
    return list(_ran)


@service.method(inline=True)
def most() -> int:
    "How many calls of `limited` or `scarce` ran at once, since the last question."
    global _most
    found, _most = _most, 0
    return found


@service.method(inline=True)
def inline(n: int) -> int:
    return n


@service.method
def worker(n: int) -> int:
    return n


@service.method
async def coroutine(n: int) -> int:
    await asyncio.sleep(0)
    return n


@service.method(limit=2)
def limited(seconds: float) -> None:
    _held(seconds)


@service.method(resources={"gpu": 1})
def scarce(seconds: float) -> None:
    _held(seconds)


@service.method
def nap(name: str, seconds: float) -> str:
    run(name)
    time.sleep(seconds)
    return name


@service.method
def meets(n: int) -> int:
    "Call 0 waits for call 49."
    if n == 49:
        _gate.set()
    if n == 0:
        _gate.wait()
        _gate.clear()
    return n


@service.method(once=True)
def pay(name: str) -> str:
    return run(name)


@service.method(cache=60.0, readonly=True)
def kept(name: str) -> str:
    return run(name)


@service.method(inline=True)
def leaves_inline(word: str) -> str:
    return leaves(word)


@service.method
def leaves_worker(word: str) -> str:
    return leaves(word)


def leaves(word: str) -> str:
    "What it sees that another call has set."
    seen = _seen.get()
    if word == "set":
        _seen.set(word)
    if word == "exit":
        raise SystemExit(3)
    return seen


@service.method
def later(n: int) -> object:
    "A future, which another thread settles."
    future: Future[int] = Future()
    threading.Timer(0.01, future.set_result, (n,)).start()
    return future


@service.method(inline=True)
def later_inline(n: int) -> object:
    future: Future[int] = Future()
    future.set_result(n)
    return future


@service.method
def odd(n: int) -> object:
    return object() if n % 2 else {"n": n}


@service.method(inline=True)
def odd_inline(n: int) -> object:
    return odd(n)


@service.method(inline=True)
def first_fails(n: int) -> int:
    "Takes long enough for answers to go out before the last call has run."
    end = time.monotonic() + 0.002
    while time.monotonic() < end:  # (on gevent, a sleep would let others run)
        pass
    if n == 0:
        raise LookupError("the first")
    return n


@service.method(inline=True)
def first_is_large(n: int) -> object:
    return bytearray(300_000) if n == 0 else n


@service.method(inline=True)
def zeros(size: int) -> bytes:
    return bytes(size)


@service.method
def told_of() -> dict[str, object]:
    call = ringback.current_call()
    return {"method": call.method, "metadata": call.metadata, "left": call.remaining()}


@service.method(inline=True)
def told_of_inline(_: int) -> dict[str, object]:
    return told_of()


@service.method
def told_of_worker(_: int) -> dict[str, object]:
    return told_of()
