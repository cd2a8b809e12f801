"""A service whose handlers, one of each kind, start processes.

`python forking.py BACKEND` is a program that forks before it serves.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import ringback

service = ringback.Service("forking")


@service.method(inline=True)
def pid() -> int:
    "Which process answers; it notes that in its log."
    os.write(2, b"asked %d\n" % os.getpid())
    return os.getpid()


def fork(ending: str) -> int:
    """The exit status of a child that ends in that way."""
    child = os.fork()
    if child == 0:
        end(ending)
        return -1
    return status_of(child)


def status_of(child: int) -> int:
    if "gevent.monkey" in sys.modules and on_hub():
        from gevent import monkey

        return os.waitstatus_to_exitcode(monkey.get_original("os", "waitpid")(child, 0)[1])
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def on_hub() -> bool:
    import gevent

    return gevent.getcurrent() is gevent.get_hub()


def end(ending: str) -> None:
    if ending == "exit":
        sys.exit(7)
    if ending == "leave":
        os._exit(5)
    if ending == "exec":
        os.execv(sys.executable, [sys.executable, "-S", "-c", "raise SystemExit(6)"])
    if ending == "raise":
        raise ValueError("in the child")
    if ending == "again":
        child = os.fork()
        if child:
            os._exit(10 + status_of(child))


def times(n: int) -> int:
    return 2 * n


def put(queue: Any) -> None:
    queue.put(os.getpid())


def process(method: str) -> list[Any]:
    context: Any = multiprocessing.get_context(method)
    queue = context.SimpleQueue()
    one = context.Process(target=put, args=(queue,))
    one.start()
    other = queue.get()
    one.join(10)
    return [other not in (os.getpid(), os.getppid()), one.exitcode]


def pool(method: str) -> list[Any]:
    with multiprocessing.get_context(method).Pool(2) as workers:
        return workers.map(times, [1, 2, 3])


def terminate(method: str) -> list[Any]:
    context: Any = multiprocessing.get_context(method)
    one = context.Process(target=time.sleep, args=(60,))
    one.start()
    one.terminate()
    one.join(10)
    return [one.exitcode]


def commands(_: str) -> list[Any]:
    """What commands print, and their exit statuses."""
    said: list[Any] = []
    for n in range(3):
        ran = subprocess.run(
            ["sh", "-c", f"echo {n}; exit {n}"], capture_output=True, text=True, check=False
        )
        said += [ran.stdout.strip(), ran.returncode]
    try:
        subprocess.run(["sleep", "20"], timeout=0.05, check=False)
    except subprocess.TimeoutExpired:
        said.append("late")
    try:
        subprocess.run(["/nonexistent"], check=False)
    except FileNotFoundError:
        said.append("missing")
    return said


WORK: dict[str, Callable[[str], Any]] = {
    "fork": fork,
    "process": process,
    "pool": pool,
    "terminate": terminate,
    "commands": commands,
}


@service.method(inline=True)
def inline(what: str, how: str) -> object:
    return WORK[what](how)


@service.method
def worker(what: str, how: str) -> object:
    return WORK[what](how)


@service.method(executor="thread")
def thread(what: str, how: str) -> object:
    return WORK[what](how)


@service.method
async def coroutine(what: str, how: str) -> object:
    if what == "commands" and how == "asyncio":
        return await asyncio_commands()
    if what == "fork" and how == "wait":
        never = asyncio.get_running_loop().create_future()
        child = os.fork()
        if child == 0:
            await never
        return status_of(child)
    return WORK[what](how)


async def asyncio_commands() -> list[Any]:
    said: list[Any] = []
    for n in range(3):
        ran = await asyncio.create_subprocess_exec(
            "sh", "-c", f"echo {n}; exit {n}", stdout=subprocess.PIPE
        )
        out, _ = await ran.communicate()
        said += [out.decode().strip(), ran.returncode]
    return said


@service.method
def stream(what: str, how: str) -> Iterator[Any]:
    yield 0
    yield WORK[what](how)
    os.write(2, b"asked %d\n" % os.getpid())


@service.method
async def async_stream(what: str, how: str) -> AsyncIterator[Any]:
    yield 0
    yield WORK[what](how)
    os.write(2, b"asked %d\n" % os.getpid())


def before_serving(endpoint: str, backend: str) -> None:
    """Use a client, then fork two processes that use others and serve, then tell both to end."""
    with ringback.connect(endpoint) as client:
        assert client.call("pid")
        children = [os.fork()]
        if children[0]:
            children.append(os.fork())
        if not children[-1]:
            with ringback.connect(endpoint) as own:
                assert own.call("pid")
            sys.exit(ringback.serve(service, "tcp://127.0.0.1:*", backend=backend))
        assert client.call("pid")
        sys.stdin.readline()  # until whoever has started this has seen both serve
        for child in children:
            os.kill(child, signal.SIGTERM)
        print([status_of(child) for child in children], flush=True)
        assert client.call("pid")


if __name__ == "__main__":
    before_serving(*sys.argv[1:])
