"""`python lives.py BACKEND`: lives of one embedded server, good and failed ones; prints what each
was like and left behind.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import time

import ringback

BACKEND = sys.argv[1]

taken = socket.create_server(("127.0.0.1", 0))
seen: list[str] = []


def service(asynchronous: bool) -> ringback.Service:
    made = ringback.Service("calc")

    @made.method
    def add(a: int, b: int) -> int:
        return a + b

    if asynchronous:

        @made.lifespan
        async def life():
            await asyncio.sleep(0.001)
            seen.append("entered")
            yield
            await asyncio.sleep(0.001)
            seen.append("left")

    else:

        @made.lifespan
        def life():
            seen.append("entered")
            yield
            seen.append("left")

    return made


def server(asynchronous: bool, port: str = "*") -> ringback.Server:
    return ringback.Server(service(asynchronous), f"tcp://127.0.0.1:{port}", backend=BACKEND)


def held() -> tuple[int, int]:
    """Threads and descriptors of this process."""
    return len(os.listdir("/proc/self/task")), len(os.listdir("/proc/self/fd"))


def tell(what: str, before: tuple[int, int]) -> None:
    deadline = time.monotonic() + 10
    while (
        any(now > then for now, then in zip(held(), before, strict=True))
        and time.monotonic() < deadline
    ):
        time.sleep(0.01)  # a thread that was told to end takes a moment
    more = [now - then for now, then in zip(held(), before, strict=True)]
    print(what, *seen, "threads and descriptors left:", *[max(0, n) for n in more])
    seen.clear()


async def lives(live) -> None:
    """`live(server)` enters it, calls add, and leaves it."""
    for asynchronous in (False, True):
        one = server(asynchronous)
        await live(one)
        seen.clear()
        before = held()
        for _ in range(3):
            await live(one)
        tell("lived", before)
        for _ in range(3):
            try:
                await live(server(asynchronous, str(taken.getsockname()[1])))
            except ringback.errors.UsageError:
                seen.append("failed")
        tell("failed", before)
    one = server(False)
    try:
        await live(one, one)
    except RuntimeError as error:
        print(error)


def run(coroutine) -> None:
    """To the end of a coroutine that never waits."""
    try:
        coroutine.send(None)
    except StopIteration:
        pass


async def blocking(one, again=None) -> None:
    from importlib import import_module

    client = import_module(f"ringback.clients.{BACKEND}")
    with one, client.connect(one.endpoint) as caller:
        assert caller.call("add", 1, 2) == 3
        if again is not None:
            again.__enter__()


async def on_asyncio(one, again=None) -> None:
    from ringback.clients.asyncio import connect

    async with one, connect(one.endpoint) as caller:
        assert await caller.call("add", 1, 2) == 3
        if again is not None:
            await again.__aenter__()


async def on_twisted(one, again=None) -> None:
    from ringback.clients.twisted import connect

    await one.startService()
    try:
        async with connect(one.endpoint) as caller:
            assert await caller.call("add", 1, 2) == 3
            if again is not None:
                await again.startService()
    finally:
        await one.stopService()


if BACKEND in ("threading", "gevent"):
    run(lives(blocking))
elif BACKEND == "asyncio":
    asyncio.run(lives(on_asyncio))
else:
    from twisted.internet import defer, task

    task.react(lambda _: defer.ensureDeferred(lives(on_twisted)))
