"""The process that is a client of Dask: orders come through a pipe, and answers go back. It ends with the pipe.

A job stays packed on its way: of what a user's module has, Dask's scheduler need not know anything.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import pickle
import signal
import threading
import time
from asyncio import CancelledError
from collections.abc import Mapping
from multiprocessing.connection import Connection
from typing import Any

from distributed import Client
from distributed.client import FutureCancelledError
from distributed.scheduler import KilledWorker

from ... import errors
from .elsewhere import work
from .orders import CancelOrder, JobAnswer, JobOrder

# Seconds to connect to the scheduler in, and for which what its workers have is taken to be known.
_CONNECT = 5.0
_KNOWN = 1.0


def run(channel: Connection, address: str) -> None:
    """The whole process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the server, which drains
    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # what matters of it are the calls' errors
    asyncio.run(Bridge(channel, address).run())


def work_packed(packed: bytes) -> bytes:
    """On a worker of Dask."""
    return pickle.dumps(work(pickle.loads(packed)), pickle.HIGHEST_PROTOCOL)  # noqa: S301 - the cluster is trusted


class Bridge:
    """One scheduler's client. Lost, it is connected again with the next call."""

    def __init__(self, channel: Connection, address: str) -> None:
        self._channel = channel
        self._address = address
        self._client: Any = None
        self._connecting = asyncio.Lock()
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._had: list[Mapping[str, float]] = []
        self._asked = 0.0

    async def run(self) -> None:
        """Until the pipe is closed."""
        loop, over = asyncio.get_running_loop(), asyncio.Event()

        def read() -> None:
            try:
                while True:
                    loop.call_soon_threadsafe(self._take, self._channel.recv())
            except (EOFError, OSError):
                loop.call_soon_threadsafe(over.set)

        threading.Thread(target=read, daemon=True).start()
        await over.wait()
        for task in list(self._tasks.values()):
            task.cancel()
        if self._client is not None:
            await self._client.close(1.0)

    def _take(self, order: JobOrder | CancelOrder) -> None:
        if isinstance(order, CancelOrder):
            task = self._tasks.get(order.number)
            if task is not None:
                task.cancel()
            return
        task = self._tasks[order.number] = asyncio.get_running_loop().create_task(self._run(order))
        task.add_done_callback(lambda _: self._tasks.pop(order.number))

    async def _run(self, order: JobOrder) -> None:
        error: errors.CallError | None = None
        packed = b""
        try:
            packed = await self._submitted(order)
        except CancelledError:
            error = errors.Cancelled(f"the call of {order.method} was cancelled")
        except errors.CallError as refused:
            error = refused
        except FutureCancelledError:  # not by us
            text = f"the scheduler of Dask was lost while {order.method} ran"
            error = errors.Unavailable(text, started=None)
        except KilledWorker:
            text = f"the workers of Dask on which {order.method} ran have died"
            error = errors.RemoteError("KilledWorker", text)
        except Exception as raised:  # as where a worker has no such module
            error = errors.RemoteError(errors.name_of(raised), errors.text_of(raised))
        with contextlib.suppress(OSError):  # nobody is there any more
            self._channel.send(JobAnswer(order.number, packed, error))

    async def _submitted(self, order: JobOrder) -> bytes:
        client = await self._connected()
        if order.resources:
            await self._check(client, order)
        future = client.submit(
            work_packed,
            order.packed,
            key=f"{order.method}-{order.number}-{time.time_ns()}",
            pure=False,  # equal calls are not one call
            priority=order.priority,
            resources=order.resources or None,
            fifo_timeout="0ms",  # Dask would put calls of 100 ms together and run the last of them first
        )
        try:
            result: bytes = await future
            return result
        except CancelledError:
            if client.status == "running":
                await future.cancel()
            raise

    async def _connected(self) -> Any:
        async with self._connecting:
            if self._client is None or self._client.status != "running":
                lost, self._client = self._client, None
                if lost is not None:
                    await lost.close(1.0)
                try:
                    self._client = await Client(  # type: ignore[no-untyped-call]
                        self._address,
                        asynchronous=True,
                        timeout=_CONNECT,
                        set_as_default=False,
                        name="ringback",
                    )
                except (OSError, TimeoutError, ValueError) as error:
                    text = f"there is no scheduler of Dask at {self._address}: {error}"
                    raise errors.Unavailable(text, started=False) from None
            return self._client

    async def _check(self, client: Any, order: JobOrder) -> None:
        """Raises FailedPrecondition where no worker has what it needs: Dask would let it wait for ever."""
        now = time.monotonic()
        if now - self._asked > _KNOWN:
            known = await client.scheduler.identity()
            self._had = [worker.get("resources") or {} for worker in known["workers"].values()]
            self._asked = now
        for had in self._had:
            if all(had.get(name, 0.0) >= amount for name, amount in order.resources.items()):
                return
        needs = ", ".join(f"{amount:g} of {name!r}" for name, amount in order.resources.items())
        raise errors.FailedPrecondition(
            f"{order.method} can not run: it needs {needs}, which no worker of Dask has been given"
        )
