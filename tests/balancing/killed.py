"""A service whose servers are killed: calls that may run twice, and calls that run once for each
key. Runs are written to the file
`RUNS`."""

from __future__ import annotations

import asyncio
import os
import time

import ringback

service = ringback.Service("killed", needs_state=True)


def wrote(what: str) -> None:
    descriptor = os.open(os.environ["RUNS"], os.O_WRONLY | os.O_APPEND)
    os.write(descriptor, f"{what}\n".encode())  # in one step, whoever else writes
    os.close(descriptor)


@service.method(idempotent=True)
async def nap(seconds: float) -> float:
    await asyncio.sleep(seconds)
    return seconds


@service.method(once=True, executor="thread")
def pay(seconds: float, to: str) -> int:
    tx = ringback.current_call().transaction
    paid: int = tx.get(f"paid/{to}", 0) + 1
    time.sleep(seconds)
    tx.put(f"paid/{to}", paid)
    return paid


@service.method(once=True, executor="thread")
def mail(seconds: float, to: str) -> str:
    wrote(to)
    time.sleep(seconds)
    return to
