"""The services that the tests serve, in processes of their own: one method for each thing that a
test must see happen.

`service` is what most tests call, `intercepted` has interceptors, `living` and `living_async` have
lifespans. Handlers leave marks
(`mark`), and a test asks for them with the method `marks`.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import ctypes
import os
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import ringback
from ringback import errors


@dataclass
class Point:
    x: int
    y: int
    label: str = ""


class Order(msgspec.Struct):
    number: int
    price: Decimal
    placed: datetime


_marks: dict[str, list[str]] = defaultdict(list)


def mark(key: str, what: str) -> None:
    _marks[key].append(what)  # atomic: handlers run in several threads


service = ringback.Service("tests")


@service.method(inline=True)
def marks(key: str) -> list[str]:
    "What handlers have marked under that key."
    return list(_marks[key])


# Calls that tell how often they ran


@service.method(inline=True)
def open_gate(key: str) -> None:
    mark(key, "open")


@service.method
async def counted(key: str, gated: bool = False, *, value: Any = None) -> list[Any]:
    "How often it has run for that key; `gated`: as soon as the gate is open."
    mark(key, "run")
    number = _marks[key].count("run")
    while gated and "open" not in _marks[key]:
        await asyncio.sleep(0.005)
    if value == "fail":
        raise errors.Aborted(f"run {number}")
    return [number, value]


# Plain calls


@service.method
def add(a: int, b: int) -> int:
    "Sum of two integers."
    return a + b


@service.method(inline=True)
def add_inline(a: int, b: int) -> int:
    return a + b


@service.method(inline=True)
def echo(value):
    return value


@service.method(inline=True)
def mirror(value: memoryview) -> memoryview:
    assert isinstance(value, memoryview)
    return value


@service.method(name="echo.worker")
def echo_worker(value):
    return value


@service.method
async def echo_async(value: Any) -> Any:
    return value


@service.method
def greet(name: str, /, greeting: str = "hello", *rest: str, mark: str = "!", **more: str) -> str:
    words = [greeting, name, *rest, *(f"{key}={value}" for key, value in sorted(more.items()))]
    return " ".join(words) + mark


@service.method
def marked(key: str, number: int) -> int:
    mark(key, f"called with {number}")
    return number


@service.method(inline=True)
def marked_inline(key: str, number: int) -> int:
    mark(key, f"called with {number}")
    return number


# Values


@service.method
def later(moment: datetime, by: timedelta) -> datetime:
    return moment + by


@service.method
def next_day(day: date) -> date:
    return day + timedelta(days=1)


@service.method
def same_uuid(value: uuid.UUID) -> uuid.UUID:
    assert isinstance(value, uuid.UUID)
    return value


@service.method
def double(value: Decimal) -> Decimal:
    assert isinstance(value, Decimal)
    return value * 2


@service.method(inline=True)
def double_inline(value: Decimal) -> Decimal:
    return double(value)


@service.method
def mirrored(point: Point) -> Point:
    assert isinstance(point, Point)
    return Point(point.y, point.x, point.label)


@service.method
def dearer(order: Order) -> Order:
    assert isinstance(order, Order)
    return Order(order.number, order.price + 1, order.placed)


@service.method
def total(points: list[Point]) -> int:
    return sum(point.x + point.y for point in points)


@service.method(inline=True)
def big(value: int) -> int:
    return value + 1


@service.method
def blob(size: int) -> bytes:
    return bytes(size)


# Errors


@service.method
def fail(text: str) -> None:
    raise LookupError(text)


@service.method(inline=True)
def fail_inline(text: str) -> None:
    raise LookupError(text)


@service.method
async def fail_async(text: str) -> None:
    raise LookupError(text)


@service.method
def raise_error(name: str, text: str) -> None:
    cls = getattr(errors, name)
    raise cls("KindOfError", text) if cls is errors.RemoteError else cls(text)


@service.method
def raise_code(code: str, text: str) -> None:
    raise errors.CallError(text, code=code)


@service.method
def unserialisable() -> Any:
    return object()


@service.method(inline=True)
def unserialisable_inline() -> Any:
    return {"deep": [object()]}


# Time


@service.method
async def nap(seconds: float) -> float:
    await asyncio.sleep(seconds)
    return seconds


@service.method
def work(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


@service.method
def hold_interpreter(seconds: float) -> None:
    "As C code that does not release its lock."
    ctypes.PyDLL(None).poll(None, 0, int(seconds * 1000))


@service.method
async def measured(seconds: float, value: Any) -> int:
    await asyncio.sleep(seconds)
    return len(value)


@service.method
def dated(key: str, seconds: float) -> None:
    "Works, and marks how much time its call had left when it began: none, where that is below 0."
    deadline = ringback.current_call().deadline
    assert deadline is not None
    mark(key, repr(deadline - time.monotonic()))
    time.sleep(seconds)


_here: list[None] = []


@service.method
def meet(number: int) -> str:
    "Waits until so many of its calls run at once."
    _here.append(None)
    while len(_here) < number:
        time.sleep(0.01)
    return "met"


@service.method
async def hold(key: str, seconds: float = 30.0) -> str:
    "Marks that it began, and how it ended."
    mark(key, "began")
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        mark(key, "cancelled")
        raise
    mark(key, "ended")
    return key


# Streams


@service.method
def count(n: int) -> Iterator[int]:
    yield from range(n)


@service.method
async def count_async(n: int) -> AsyncIterator[int]:
    for i in range(n):
        yield i


@service.method(inline=True)
def count_inline(n: int) -> Iterator[int]:
    yield from range(n)


@service.method
def breaks(n: int) -> Iterator[int]:
    yield from range(n)
    raise LookupError("the stream broke")


@service.method
async def breaks_async(n: int) -> AsyncIterator[int]:
    for i in range(n):
        yield i
    raise LookupError("the stream broke")


@service.method
def endless(key: str) -> Iterator[int]:
    number = 0
    try:
        while True:
            yield number
            number += 1
    finally:
        mark(key, "closed")


@service.method
async def endless_async(key: str) -> AsyncIterator[int]:
    number = 0
    try:
        while True:
            yield number
            number += 1
    finally:
        mark(key, "closed")


@service.method
def slow_items(key: str, seconds: float) -> Iterator[float]:
    "One item, whose making takes all of a processor."
    time.sleep(seconds)
    mark(key, "item")
    yield seconds


@service.method
async def slow_items_async(key: str, seconds: float) -> AsyncIterator[float]:
    time.sleep(seconds)
    mark(key, "item")
    yield seconds


@service.method
def sized(sizes: list[int]) -> Iterator[bytes]:
    "Items of these sizes, in bytes."
    for size in sizes:
        yield bytes(size)


@service.method
async def dripping(n: int, gap: float) -> AsyncIterator[int]:
    for i in range(n):
        await asyncio.sleep(gap)
        yield i


@service.method
def unserialisable_item() -> Iterator[Any]:
    yield 1
    yield object()


# Arguments that stream


@service.method
def sum_of(numbers: Iterator[int]) -> int:
    return sum(numbers)


@service.method
async def sum_of_async(numbers: AsyncIterator[int], times: int = 1) -> int:
    total = 0
    async for number in numbers:
        total += number * times
    return total


@service.method(executor="thread")
def sum_in_thread(numbers: Iterator[int]) -> int:
    return sum(numbers)


@service.method
def joined(words, between=" "):
    return between.join(words)


@service.method
def squares(numbers: Iterator[int]) -> Iterator[int]:
    for number in numbers:
        yield number * number


@service.method
async def squares_async(numbers: AsyncIterator[int]) -> AsyncIterator[int]:
    async for number in numbers:
        yield number * number


@service.method
def first_of(numbers: Iterator[int], n: int) -> list[int]:
    "Takes so many, and leaves the rest."
    return [next(numbers) for _ in range(n)]


@service.method
async def first_of_async(numbers: AsyncIterator[int], n: int) -> list[int]:
    return [await anext(numbers) for _ in range(n)]


@service.method
def swallow(key: str, numbers: Iterator[int]) -> None:
    "Marks that it began, and how its items ended: on gevent a handler that is cancelled ends"
    "with GreenletExit."
    mark(key, "began")
    try:
        for _ in numbers:
            pass
    except BaseException as error:
        mark(
            key,
            "cancelled" if type(error).__name__ in ("Cancelled", "GreenletExit") else repr(error),
        )
        raise
    mark(key, "ended")


@service.method
async def swallow_async(key: str, numbers: AsyncIterator[int]) -> None:
    mark(key, "began")
    try:
        async for _ in numbers:
            pass
    except asyncio.CancelledError:
        mark(key, "cancelled")
        raise
    mark(key, "ended")


@service.method(native=True)
async def sum_native(numbers: AsyncIterator[int]) -> int:
    "For Twisted: a coroutine on Deferreds."
    return await sum_of_async(numbers)


# The call itself


@service.method
def metadata() -> dict[str, Any]:
    return dict(ringback.current_call().metadata)


@service.method
def whoami() -> str:
    return ringback.current_call().user


@service.method(inline=True)
def metadata_inline() -> dict[str, Any]:
    return dict(ringback.current_call().metadata)


def _facts() -> dict[str, Any]:
    call = ringback.current_call()
    return {
        "method": call.method,
        "remaining": call.remaining(),
        "metadata": dict(call.metadata),
        "peer": call.peer,
        "priority": call.priority,
        "app": call.app,
    }


@service.method
def facts() -> dict[str, Any]:
    return _facts()


@service.method(inline=True)
def facts_inline() -> dict[str, Any]:
    return _facts()


@service.method
async def facts_async() -> dict[str, Any]:
    return _facts()


@service.method
def facts_stream() -> Iterator[dict[str, Any]]:
    yield _facts()


@service.method(inline=True)
def remaining() -> float | None:
    return ringback.current_call().remaining()


@service.method
def nested_remaining(endpoint: str) -> float | None:
    "The time left in a call that is made inside this one."
    with ringback.connect(endpoint, timeout=300.0) as client:
        return client.call("remaining")


@service.method
def nested_call(endpoint: str) -> Any:
    "What a call inside this one answers."
    with ringback.connect(endpoint, timeout=300.0) as client:
        return client.call("ringback.ping")


@service.method
async def nested_remaining_async(endpoint: str) -> float | None:
    from ringback.clients.asyncio import connect

    async with connect(endpoint, timeout=300.0) as client:
        return await client.call("remaining")


# Kinds of handlers

_pool = concurrent.futures.ThreadPoolExecutor(2)


@service.method
def future(value: int) -> Any:
    return _pool.submit(lambda: value + 1)


@service.method(inline=True)
def future_inline(value: int) -> Any:
    return _pool.submit(lambda: value + 1)


@service.method
def failing_future() -> Any:
    def fails() -> None:
        raise LookupError("the future failed")

    return _pool.submit(fails)


@service.method(inline=True)
def awaitable(value: int) -> Any:
    "For asyncio: a future of its loop."
    made = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_later(0.01, made.set_result, value + 1)
    return made


@service.method(inline=True)
def deferred(value: int) -> Any:
    "For Twisted."
    from twisted.internet import reactor, task

    return task.deferLater(reactor, 0.01, lambda: value + 1)


@service.method(inline=True)
def failing_deferred() -> Any:
    from twisted.internet.defer import fail as failed

    return failed(LookupError("the Deferred failed"))


@service.method(native=True)
async def native(value: int) -> int:
    "For Twisted: a coroutine that awaits a Deferred."
    from twisted.internet import reactor, task

    return await task.deferLater(reactor, 0.01, lambda: value + 1)


@service.method(native=True)
async def native_hold(key: str) -> None:
    "For Twisted: marks that it began, and that it was cancelled."
    from twisted.internet import defer

    mark(key, "began")
    try:
        await defer.Deferred()
    except defer.CancelledError:
        mark(key, "cancelled")
        raise


def _really_block(seconds: float) -> None:
    "A block that no monkey patch can make cooperative."
    try:
        from gevent.monkey import get_original

        get_original("time", "sleep")(seconds)
    except ImportError:
        time.sleep(seconds)


@service.method(executor="thread")
def block_in_thread(seconds: float) -> int:
    _really_block(seconds)
    return threading.get_ident()


@service.method(inline=True)
def block_inline(seconds: float) -> None:
    _really_block(seconds)


@service.method(timeout=0.2)
async def limited(key: str) -> None:
    mark(key, "began")
    try:
        await asyncio.sleep(30)
    except asyncio.CancelledError:
        mark(key, "cancelled")
        raise


@service.method(inline=True)
def where() -> int:
    "The thread of the event loop."
    return threading.get_ident()


# Interceptors: metadata says what they do

intercepted = ringback.Service("intercepted")


@intercepted.use
def outer(call):
    wish = call.metadata.get("wish")
    if wish == "refuse":
        raise errors.PermissionDenied(f"{call.method} is not for you")
    if wish == "answer":
        return "answered before the handler"
    mark("order", "outer in")
    try:
        result = yield
    except errors.CallError:
        mark("order", "outer failed")
        raise
    except Exception as error:
        if wish == "excuse":
            return f"excused {type(error).__name__}"
        raise
    mark("order", "outer out")
    if wish == "raise":
        raise errors.Aborted("raised after the handler")
    if wish == "replace":
        return f"{result}, replaced"
    return None


@intercepted.use
def inner(call):
    mark("order", "inner in")
    result = yield
    mark("order", "inner out")
    if call.metadata.get("wish") == "twice":
        yield
    return None if call.metadata.get("wish") != "replace" else f"{result}, seen inside"


@intercepted.method
def say(word: str) -> str:
    mark("say", word)
    if word == "fail":
        raise LookupError(word)
    return word


@intercepted.method(inline=True)
def say_inline(word: str) -> str:
    return word


@intercepted.method
async def say_async(word: str) -> str:
    return word


@intercepted.method
def spell(word: str) -> Iterator[str]:
    yield from word


@intercepted.method(inline=True)
def order() -> list[str]:
    "What the interceptors have marked since the last time."
    return _marks.pop("order", [])


@intercepted.method(inline=True)
def said() -> list[str]:
    return list(_marks["say"])


# Servers among which clients choose: each tells which it is

many = ringback.Service("many")
_asked: list[None] = []


@many.method(name="whoami", readonly=True, inline=True)
def process() -> int:
    _asked.append(None)
    return os.getpid()


@many.method(readonly=True, inline=True)
def asked() -> int:
    "How often `whoami` was."
    return len(_asked)


@many.method(readonly=True)
async def unless(slow: int, seconds: float) -> int:
    "Which server it is; that one takes its time."
    if os.getpid() == slow:
        await asyncio.sleep(seconds)
    return os.getpid()


@many.method
async def change(value: Any, seconds: float) -> list[Any]:
    "The value again, and which server it is."
    await asyncio.sleep(seconds)
    return [value, os.getpid()]


@many.method(readonly=True)
async def look_at(value: Any, seconds: float) -> list[Any]:
    return await change(value, seconds)


# Lifespans

living = ringback.Service("living")
living_async = ringback.Service("living_async")


@living.lifespan
def resources() -> Iterator[dict[str, Any]]:
    app = {"database": "open", "thread": threading.get_ident()}
    print("lifespan: begins", flush=True)
    try:
        yield app
    finally:
        print("lifespan: ends", flush=True)


@living_async.lifespan
async def resources_async() -> AsyncIterator[dict[str, Any]]:
    await asyncio.sleep(0)
    print("lifespan: begins", flush=True)
    try:
        yield {"database": "open", "thread": threading.get_ident()}
    finally:
        await asyncio.sleep(0)
        print("lifespan: ends", flush=True)


for _service in (living, living_async):
    _service.method(facts)
    _service.method(facts_inline, inline=True)
    _service.method(facts_async)
    _service.method(where, inline=True)
