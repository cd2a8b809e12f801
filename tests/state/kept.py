"""The service whose methods run once for each key. What a method has run for is counted in the file
that the server's environment names:
that counts whatever becomes of the server."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import time

import ringback

service = ringback.Service("kept")


def ran(what: str) -> None:
    """One more line, which is in the file when this returns."""
    file = os.open(os.environ["RINGBACK_TEST_RAN"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, what.encode() + b"\n")
    os.close(file)


@service.method(once=True)
def increment(by: int = 1) -> int:
    """Exactly once."""
    tx = ringback.current_call().transaction
    value = tx.get("counter", 0) + by
    tx.put("counter", value)
    return value


@service.method(once=True)
async def increment_async(by: int = 1) -> int:
    tx = ringback.current_call().transaction
    value = await tx.aget("counter", 0) + by
    tx.put("counter", value)
    return value


@service.method(once=True)
def pay(amount: object, seconds: float = 0.0) -> str:
    """At most once: it does what no transaction can take back."""
    ran("pay")
    time.sleep(seconds)
    return f"paid {amount if isinstance(amount, int) else type(amount).__name__}"


@service.method(once=True)
async def pay_async(amount: int, seconds: float = 0.0) -> str:
    ran("pay")
    await asyncio.sleep(seconds)
    return f"paid {amount}"


@service.method(once=True)
def large(size: int) -> bytes:
    return bytes(size)


@service.method(once=True)
def fail(amount: int) -> None:
    ran("fail")
    raise ValueError(f"{amount} is too much")


ENDINGS = {kind.__name__: kind for kind in (SystemExit, KeyboardInterrupt, MemoryError)}


@service.method(once=True)
def end(kind: str) -> None:
    ran("end")
    raise ENDINGS[kind]("the end")


@service.method(once=True)
async def end_async(kind: str) -> None:
    ran("end")
    raise ENDINGS[kind]("the end")


@service.method(once=True)
def fail_half_way() -> None:
    ringback.current_call().transaction.put("half", "written")
    raise ValueError("half-way")


@service.method(once=True, idempotent=True)
def repeatable(seconds: float = 0.0) -> str:
    ran("repeatable")
    time.sleep(seconds)
    return "done"


@service.method(once=0.5)
def soon_forgotten() -> str:
    ran("soon forgotten")
    return "done"


@service.method
def counter() -> int:
    value: int = ringback.current_call().state.get("counter", 0)
    return value


@service.method
def transaction_without_a_key() -> None:
    ringback.current_call().transaction.put("never", "written")


@service.method(once=True)
def promised(number: int) -> concurrent.futures.Future:
    return _pool.submit(lambda: number)


_pool = concurrent.futures.ThreadPoolExecutor(1)
