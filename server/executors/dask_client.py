"""The client process of Dask: receives orders through a pipe, and sends results back.

It ends when the pipe closes. A job stays packed on its way, so Dask's scheduler needs nothing from
the user's modules.
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

# Timeout to connect to the scheduler, and lifetime of the known resources of its workers, in
# seconds.
_CONNECT = 5.0
_KNOWN = 1.0


def run(channel: Connection, address: str) -> None:
    """The main function of the process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the server, which drains
    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # the calls' errors say enough
    asyncio.run(Bridge(channel, address).run())


def work_packed(packed: bytes) -> bytes:
    """Unpack and run a job, and pack its outcome. Runs on a Dask worker."""
    return pickle.dumps(work(pickle.loads(packed)), pickle.HIGHEST_PROTOCOL)  # noqa: S301 - trusted


class Bridge:
    """Passes orders to the client of one scheduler. A lost client reconnects at the next call."""

    def __init__(self, channel: Connection, address: str) -> None:
        self._channel = channel
        self._address = address
        self._client: Any = None
        self._connecting = asyncio.Lock()
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._had: list[Mapping[str, float]] = []
        self._asked = 0.0

    async def run(self) -> None:
        """Handle orders until the pipe closes."""
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
            text = f"the Dask scheduler was lost while {order.method} ran"
            error = errors.Unavailable(text, started=None)
        except KilledWorker:
            text = f"the Dask workers that ran {order.method} died"
            error = errors.RemoteError("KilledWorker", text)
        except Exception as raised:  # such as a module that a worker does not have
            error = errors.RemoteError(errors.name_of(raised), errors.text_of(raised))
        with contextlib.suppress(OSError):  # the server is gone
            self._channel.send(JobAnswer(order.number, packed, error))

    async def _submitted(self, order: JobOrder) -> bytes:
        client = await self._connected()
        if order.resources:
            await self._check(client, order)
        future = client.submit(
            work_packed,
            order.packed,
            key=f"{order.method}-{order.number}-{time.time_ns()}",
            pure=False,  # do not merge equal calls
            priority=order.priority,
            resources=order.resources or None,
            fifo_timeout="0ms",  # or Dask groups the calls of 100 ms and runs the last one first
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
                    text = f"there is no Dask scheduler at {self._address}: {error}"
                    raise errors.Unavailable(text, started=False) from None
            return self._client

    async def _check(self, client: Any, order: JobOrder) -> None:
        """Raises FailedPrecondition if no worker has the resources: Dask would wait forever."""
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
            f"{order.method} cannot run: it needs {needs}, which no Dask worker has"
        )
