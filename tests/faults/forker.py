"""A program that forks beside a client: `python forker.py STYLE ENDPOINT ENDING`. With `embedded`
as the endpoint, it has a server too.

The parent goes on, and finds everything as it was; the child ends as it is told. What both see is
printed, an object a line.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from importlib import import_module
from typing import Any

import ringback
from ringback import errors

STYLE, ENDPOINT, ENDING = sys.argv[1:]
PARENT = os.getpid()
BLOCKS = STYLE in ("threading", "gevent")
connect = import_module(f"ringback.clients.{STYLE}").connect

service = ringback.Service("embedded")


@service.method(inline=True)
def add(a: int, b: int) -> int:
    return a + b


@service.method
async def nap(seconds: float) -> float:
    await asyncio.sleep(seconds)
    return seconds


@service.method
def count(n: int) -> Any:
    yield from range(n)


def tell(**facts: Any) -> None:
    os.write(1, json.dumps(facts).encode() + b"\n")


# What differs by style


async def outcome(value: Any) -> Any:
    """Of a call, fired or not."""
    if hasattr(value, "__await__"):
        return await value
    if hasattr(value, "result"):
        return value.result(20)
    return value.get(timeout=20) if hasattr(value, "rawlink") else value


async def following(stream: Any) -> Any:
    return next(stream) if BLOCKS else await anext(stream)


async def pause() -> None:
    if STYLE == "asyncio":
        await asyncio.sleep(0.01)
    elif STYLE == "twisted":
        from twisted.internet import reactor
        from twisted.internet.task import deferLater

        await deferLater(reactor, 0.01)
    elif STYLE == "gevent":
        import gevent

        gevent.sleep(0.01)
    else:
        time.sleep(0.01)


async def embedded(stack: AsyncExitStack) -> str:
    server: Any = ringback.Server(service, "tcp://127.0.0.1:*", backend=STYLE)
    if STYLE == "twisted":
        await server.startService()
        stack.push_async_callback(lambda: outcome(server.stopService()))
    elif STYLE == "asyncio":
        await stack.enter_async_context(server)
    else:
        stack.enter_context(server)
    return str(server.endpoint)


def run(program: Coroutine[Any, Any, None]) -> None:
    if STYLE == "asyncio":
        asyncio.run(program)  # type: ignore[arg-type]
    elif STYLE == "twisted":
        from twisted.internet.defer import ensureDeferred
        from twisted.internet.task import react

        react(lambda _: ensureDeferred(program))
    else:
        try:
            program.send(None)  # it waits by blocking
        except StopIteration:
            pass


# The two processes


async def right(client: Any, calls: int = 50) -> bool:
    return [await outcome(client.call("add", n, 1)) for n in range(calls)] == list(
        range(1, calls + 1)
    )


def called_in_pool(endpoint: str) -> int:
    with ringback.connect(endpoint) as client:
        return int(client.call("add", 1, 2))


async def uses(client: Any, unused: Any) -> None:
    """Every use of a parent's client says what is wrong; to close it is nothing."""
    said = []
    for one in (client, unused, client.options(timeout=1.0)):
        for use in ("call", "fire", "notify", "stream"):
            try:
                await outcome(getattr(one, use)("add", 1, 2))
            except RuntimeError as error:
                said.append(str(error))
    await outcome(client.close())
    await outcome(unused.close())
    tell(said=said)


async def waits(future: Any, stream: Any) -> None:
    """Who waits for the parent's answers, or for more items than have come, learns that they do not
    come here.
    """
    try:
        await outcome(future)
    except errors.Cancelled as error:
        tell(said=error.message)
    try:
        for _ in range(500):
            await following(stream)
    except errors.Cancelled as error:
        tell(said=error.message)


async def in_child(endpoint: str, client: Any, unused: Any, future: Any, stream: Any) -> None:
    if ENDING == "return":
        return
    if ENDING == "exec":
        os.execv(sys.executable, [sys.executable, "-S", "-c", "raise SystemExit(7)"])
    if ENDING == "again":
        child = os.fork()
        if child == 0:
            sys.exit(3)
        tell(grandchild=os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    if ENDING == "use":
        await uses(client, unused)
    if ENDING == "wait":
        await waits(future, stream)
    if ENDING == "anew" and STYLE == "asyncio":

        async def anew() -> None:
            async with connect(endpoint) as other:
                tell(anew=await right(other))

        asyncio.run(anew())
    elif ENDING == "anew":
        other = connect(endpoint)
        tell(anew=await right(other))
        await outcome(other.close())
    sys.exit(7)


async def ended(child: int) -> None:
    """Tell how the child ended, and what processor time it took."""
    deadline = time.monotonic() + 15
    while True:
        pid, status, usage = os.wait4(child, os.WNOHANG)
        if pid:
            tell(status=os.waitstatus_to_exitcode(status), seconds=usage.ru_utime + usage.ru_stime)
            return
        if time.monotonic() > deadline:
            os.kill(child, 9)
        await pause()


async def program() -> None:
    async with AsyncExitStack() as stack:
        endpoint = await embedded(stack) if ENDPOINT == "embedded" else ENDPOINT
        client, unused = connect(endpoint, timeout=30.0), connect(endpoint)
        called: list[Any] = []

        def back(result: Any) -> None:
            called.append(result)
            tell(called_by_parent=os.getpid() == PARENT)

        await outcome(client.fire("add", 0, 0, callback=back))
        while not called:
            await pause()
        stream = client.stream("count", 500)
        assert await following(stream) == 0
        future = client.fire("nap", 0.4, callback=back)
        assert await right(client)  # so the others are on their way
        over = threading.Event()
        wrong: list[int] = []

        def goes_on() -> None:
            while not over.is_set():
                wrong.extend(n for n in range(20) if client.call("add", n, 1) != n + 1)

        threads = [
            threading.Thread(target=goes_on, daemon=True)
            for _ in range(3 if STYLE == "threading" else 0)
        ]
        for thread in threads:
            thread.start()
        if ENDING == "pool":
            with multiprocessing.get_context("fork").Pool(2) as pool:
                tell(pool=pool.map(called_in_pool, [endpoint] * 4))
                pool.close()
                pool.join()  # not by SIGTERM, which the reactor's handler would take
        else:
            child = os.fork()
            if child == 0:
                await in_child(endpoint, client, unused, future, stream)
                return
            tell(parent=await right(client))
            await ended(child)
        over.set()
        for thread in threads:
            thread.join()
        while len(called) < 2:
            await pause()
        rest = [await following(stream) for _ in range(499)]
        facts = [
            await right(client),
            await outcome(future) == 0.4,
            rest == list(range(1, 500)),
            not wrong,
        ]
        await outcome(client.close())
        tell(after=facts)


async def in_a_callback() -> None:
    """The callback forks; ENDING says how its child leaves it."""
    client = connect(ENDPOINT)
    children: list[int] = []

    def back(_: Any) -> None:
        child = os.fork()
        if child == 0:
            if ENDING == "callback-exit":
                sys.exit(7)
            return
        children.append(child)

    await outcome(client.fire("add", 1, 2, callback=back))
    while not children:
        await pause()
    tell(parent=await right(client))
    await ended(children[0])
    await outcome(client.close())


if __name__ == "__main__":
    run(in_a_callback() if ENDING.startswith("callback") else program())
