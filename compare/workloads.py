"""What is measured: the service that every backend serves unchanged, and the table of workloads that call it.

A new workload is a method of the service and a row of the table. Each call has arguments of its own, and the row knows its one right
answer without doing the work.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from ..server.service import Service

service = Service("compare")

SIZE = 32  # bytes in a value
IO_SECONDS = 0.010
CPU_SECONDS = 0.001

# The steps of `cpu`: x -> (x * MULTIPLIER + INCREMENT) modulo 2**31, which can be checked without walking them.
_MULTIPLIER = 1103515245
_INCREMENT = 12345
_MASK = 2**31 - 1


@service.method(inline=True)
def echo(value: bytes) -> bytes:
    """The value, on the event loop itself."""
    return value


@service.method
def pooled(value: bytes) -> bytes:
    """The value, by way of a worker."""
    return value


@service.method
def io(value: bytes) -> bytes:
    """The value, after a wait as for a database."""
    time.sleep(IO_SECONDS)
    return value


@service.method
def cpu(start: int, steps: int) -> int:
    """A number that takes that many steps of pure Python."""
    for _ in range(steps):
        start = (start * _MULTIPLIER + _INCREMENT) & _MASK
    return start


@service.method(inline=True)
def reactor() -> str | None:
    """The name of Twisted's reactor, where one serves."""
    found = sys.modules.get("twisted.internet.reactor")
    return None if found is None else type(found).__name__


class Workload(NamedTuple):
    """A method, and how it is called: `arguments(number, steps)` are those of a caller's call, `answer` the one right reply to them."""

    name: str
    explanation: str
    arguments: Callable[[int, int], tuple[Any, ...]]
    answer: Callable[..., Any]


def _value(number: int, _: int) -> tuple[bytes]:
    return (number.to_bytes(SIZE, "big"),)


def _same(value: bytes) -> bytes:
    return value


def _start(number: int, steps: int) -> tuple[int, int]:
    return (number & _MASK, steps)


_jumps: dict[int, tuple[int, int]] = {}


def after(start: int, steps: int) -> int:
    """What `cpu` returns, in one step: so many steps together are one multiplication and one addition."""
    if steps not in _jumps:
        factor, summand = 1, 0
        by, plus, left = _MULTIPLIER, _INCREMENT, steps
        while left:
            if left & 1:
                factor, summand = (factor * by) & _MASK, (summand * by + plus) & _MASK
            by, plus, left = (by * by) & _MASK, (plus * by + plus) & _MASK, left >> 1
        _jumps[steps] = factor, summand
    factor, summand = _jumps[steps]
    return (start * factor + summand) & _MASK


WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload("echo", f"{SIZE} bytes back, inline on the event loop", _value, _same),
        Workload("pooled", f"{SIZE} bytes back, an unmarked def", _value, _same),
        Workload("io", f"an unmarked def that waits {IO_SECONDS * 1000:.0f} ms", _value, _same),
        Workload(
            "cpu", f"an unmarked def that computes for about {CPU_SECONDS * 1000:.0f} ms", _start, after
        ),
    )
}


def steps_of_cpu() -> int:
    """How many steps take this machine about `CPU_SECONDS`, by the fastest of several tries: the least disturbed one."""
    tried = 2_000
    seconds = []
    for _ in range(200):
        began = time.perf_counter()
        cpu(1, tried)
        seconds.append(time.perf_counter() - began)
    return max(1, round(tried * CPU_SECONDS / min(seconds)))
