"""The services that every backend serves unchanged, and the expected results of `cpu`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

from ...server.declare.service import Service
from . import counters, reads

service = Service("compare")

SIZE = 32  # bytes in a value
IO_SECONDS = 0.010
CPU_SECONDS = 0.001

# A step of `cpu` is x -> (x * MULTIPLIER + INCREMENT) modulo 2**31. `after` computes many at once.
MULTIPLIER = 1103515245
INCREMENT = 12345
MASK = 2**31 - 1


@service.method(inline=True)
def echo(value: bytes) -> bytes:
    """Return the value, inline on the event loop."""
    return value


@service.method
def pooled(value: bytes) -> bytes:
    """Return the value, in a worker."""
    return value


@service.method
def io(value: bytes) -> bytes:
    """Return the value after a wait in the worker, as for a database."""
    time.sleep(IO_SECONDS)
    return value


@service.method
async def io_async(value: bytes) -> bytes:
    """Return the value after a wait that occupies no worker."""
    await asyncio.sleep(IO_SECONDS)
    return value


@service.method
def cpu(start: int, steps: int) -> int:
    """Compute a number in that many steps of pure Python."""
    for _ in range(steps):
        start = (start * MULTIPLIER + INCREMENT) & MASK
    return start


@service.method
def numbers(start: int, count: int) -> Iterator[int]:
    """Stream `count` numbers, beginning with `start`."""
    yield from range(start, start + count)


service.method(reads.read)
service.method(reads.read_async)
service.method(name="read_cached", cache=reads.CACHE_SECONDS)(reads.read)

# These methods, and those that need a state store. A server without one refuses it at start.
stateful = Service(service.name)
stateful.methods.update(service.methods)
stateful.method(counters.add)
stateful.method(counters.add_locked)
stateful.method(counters.add_versioned)
stateful.method(once=True)(counters.add_once)
stateful.method(readonly=True)(counters.total_of)
stateful.method(counters.take)


_jumps: dict[int, tuple[int, int]] = {}


def after(start: int, steps: int) -> int:
    """The result of `cpu`, in one step: any number of steps is one multiplication and one
    addition."""
    if steps not in _jumps:
        factor, summand = 1, 0
        by, plus, left = MULTIPLIER, INCREMENT, steps
        while left:
            if left & 1:
                factor, summand = (factor * by) & MASK, (summand * by + plus) & MASK
            by, plus, left = (by * by) & MASK, (plus * by + plus) & MASK, left >> 1
        _jumps[steps] = factor, summand
    factor, summand = _jumps[steps]
    return (start * factor + summand) & MASK


def steps_of_cpu() -> int:
    """Steps of `cpu` that take about `CPU_SECONDS` on this machine, by the fastest of 200 tries,
    the least disturbed one."""
    tried = 2_000
    seconds = []
    for _ in range(200):
        began = time.perf_counter()
        cpu(1, tried)
        seconds.append(time.perf_counter() - began)
    return max(1, round(tried * CPU_SECONDS / min(seconds)))
