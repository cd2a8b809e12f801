"""The service of the benchmarks: echo inline and in a worker, CPU work, streams and waiting."""

import time

import ringback

service = ringback.Service("bench")


@service.method(inline=True)
def echo(value):
    return value


@service.method(inline=True)
def mirror(value: memoryview) -> memoryview:
    return value


@service.method
def pooled(value):
    return value


@service.method
def burn(steps: int) -> int:
    total = 0
    for step in range(steps):
        total += step
    return total


@service.method
def count(items: int = 1):
    yield from range(items)


@service.method
def nap() -> None:
    time.sleep(0.01)
