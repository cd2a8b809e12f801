"""aiozmq.rpc: its server of coroutines on asyncio, and one client that all tasks share."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import zmq
from aiozmq import rpc

from ..workloads.handlers import cpu
from . import IO_SECONDS, Callback, Errback, ready, settle

LIBRARY = "aiozmq"
LOOP = "asyncio"
METHODS = ("echo", "io", "cpu")
DIFFERENCE = (
    "io is a coroutine, cpu in a pool of threads; no deadline, msgpack, arguments bound to the signature"
)


def _echo(value: bytes) -> bytes:
    return value


async def _io(value: bytes) -> bytes:
    await asyncio.sleep(IO_SECONDS)
    return value


def serve(workers: int) -> None:
    """Serve until the process is ended."""
    asyncio.run(_serve(workers))


async def _serve(workers: int) -> None:
    run = partial(asyncio.get_running_loop().run_in_executor, ThreadPoolExecutor(workers))

    async def cpu_(start: int, steps: int) -> int:
        return await run(cpu, start, steps)

    methods = {"echo": rpc.method(_echo), "io": rpc.method(_io), "cpu": rpc.method(cpu_)}
    server = await rpc.serve_rpc(methods)
    server.transport.setsockopt(zmq.SNDHWM, 0)  # a ROUTER drops what is above it
    ready((await server.transport.bind("tcp://127.0.0.1:*")).removeprefix("tcp://"))
    await server.wait_closed()


class Client:
    """One client for all tasks."""

    def __init__(self, client: Any) -> None:
        self._client = client

    async def call(self, method: str, *args: Any) -> Any:
        return await getattr(self._client.call, method)(*args)

    def fire(self, method: str, *args: Any, callback: Callback, errback: Errback) -> None:
        future = getattr(self._client.call, method)(*args)
        future.add_done_callback(lambda future: settle(future.result, callback, errback))

    async def close(self) -> None:
        self._client.close()
        await self._client.wait_closed()


async def connect(endpoint: str, callers: int) -> Client:  # noqa: ARG001 - one connection does for all
    """A client for tasks."""
    return Client(await rpc.connect_rpc(connect=f"tcp://{endpoint}"))
