"""gRPC on asyncio: coroutine handlers, and one channel that all tasks share.

It has the messages of `grpc.py`.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc.aio

from ..workloads.handlers import io_async
from . import ready
from .grpc import OPTIONS, callables, compute, handlers

LOOP = "asyncio"
METHODS = ("echo", "io", "cpu")
DIFFERENCE = (
    "HTTP/2 in C++ threads; no codec for bytes; io is a coroutine, cpu in a pool of threads"
)


async def _echo(request: bytes, _: Any) -> bytes:
    return request


async def _io(request: bytes, _: Any) -> bytes:
    return await io_async(request)


def serve(workers: int) -> None:
    asyncio.run(_serve(workers))


async def _serve(workers: int) -> None:
    server = grpc.aio.server(migration_thread_pool=ThreadPoolExecutor(workers), options=OPTIONS)
    server.add_generic_rpc_handlers(handlers(echo=_echo, io=_io, cpu=compute))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    ready(f"127.0.0.1:{port}")
    await server.wait_for_termination()


class Client:
    def __init__(self, endpoint: str) -> None:
        self._channel = grpc.aio.insecure_channel(endpoint)
        self._methods = callables(self._channel)

    async def call(self, method: str, *args: Any) -> Any:
        return await self._methods[method](args)

    async def close(self) -> None:
        await self._channel.close()


connect = Client
