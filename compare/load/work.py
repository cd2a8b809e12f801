"""What every `drive_*.py` is given, and what the two that await their calls do alike."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterator, Sequence
from itertools import cycle
from typing import Any, NamedTuple

from ..scenario import KEY
from .batch import Batch
from .callers import answer_async, call_async, run_async
from .firing import Firing
from .plan import REQUEST_REPLY

Sleep = Callable[[float], Awaitable[object]]


class Calls(NamedTuple):
    """A batch whose calls are to be made, and whether they are streams to be read. Its clients are made by `connect` and kept under a name;
    where that is "", there is one, for this batch alone."""

    batch: Batch
    stream: bool
    connect: Callable[[], Any]
    kept: str


class Work(NamedTuple):
    """Batches to make the calls of, each to be reported when its calls have ended. A caller keeps to one client."""

    close: Callable[[Any], Any]
    all: Iterator[Calls]
    report: Callable[[Batch], None]
    connections: int = 1


async def drive_async(
    work: Work,
    together: Callable[[Batch, list[Any]], Awaitable[None]],
    fire: Callable[[Sequence[Any], Batch], Awaitable[None]],
    sleep: Sleep,
) -> None:
    """All batches, one after another. `together` runs coroutines side by side, `fire` makes calls with callbacks, until they have ended."""
    kept: dict[str, list[Any]] = {}
    try:
        for batch, stream, connect, name in work.all:
            if not name:
                own = await _made(connect)
                try:
                    await _measure([own], batch, stream, together, fire, sleep)
                finally:
                    await work.close(own)
            else:
                if name not in kept:
                    kept[name] = [await _made(connect) for _ in range(work.connections)]
                await _measure(kept[name], batch, stream, together, fire, sleep)
            work.report(batch)
    finally:
        for clients in kept.values():
            for client in clients:
                await work.close(client)


async def _made(connect: Callable[[], Any]) -> Any:
    client = connect()
    return await client if inspect.isawaitable(client) else client


async def _measure(
    clients: list[Any],
    batch: Batch,
    stream: bool,
    together: Callable[[Batch, list[Any]], Awaitable[None]],
    fire: Callable[[Sequence[Any], Batch], Awaitable[None]],
    sleep: Sleep,
) -> None:
    batch.starts()
    if batch.cell.load.style == REQUEST_REPLY:
        invokes = [_collecting(client) if stream else prepared(client, batch).call for client in clients]
        dues = iter(batch.dues)
        callers = [
            answer_async(invoke, caller, dues, batch.stops, sleep)
            if batch.cell.load.open
            else call_async(invoke, caller)
            for caller, invoke in zip(batch.callers, cycle(invokes), strict=False)
        ]
        await together(batch, callers)
        batch.ends()
    else:
        await fire(clients, batch)
    await run_async(clients[0].call, batch.ending())


def _collecting(client: Any) -> Callable[..., Any]:
    async def collect(method: str, *args: Any, **kwargs: Any) -> list[Any]:
        return [item async for item in client.stream(method, *args, **kwargs)]

    return collect


def prepared(client: Any, batch: Batch) -> Any:
    """The client, with the time that each call of the batch has, asking a second server if it is to, and for calls that may bring a key."""
    timeout = batch.cell.load.timeout
    if timeout is not None:
        client = client.options(timeout=timeout)
    if batch.hedge:
        client = client.options(hedge=True)
    return _Keyed(client) if batch.keyed else client


class _Keyed:
    """A client whose calls may bring an idempotency key among their keywords."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def call(self, method: str, /, *args: Any, **kwargs: Any) -> Any:
        return self._with(kwargs).call(method, *args, **kwargs)

    def fire(self, method: str, /, *args: Any, **kwargs: Any) -> Any:
        return self._with(kwargs).fire(method, *args, **kwargs)

    def _with(self, kwargs: dict[str, Any]) -> Any:
        key = kwargs.pop(KEY, None)
        return self._client if key is None else self._client.options(idempotency_key=key)


async def fire_async(
    clients: Sequence[Any], batch: Batch, over: Callable[[], object], sleep: Sleep
) -> Firing:
    """Have the calls fired: all that open with their time, or the first of each caller. `over` is called when all have ended."""
    firing = Firing([prepared(client, batch) for client in clients], batch, over)
    if batch.cell.load.open:
        await firing.open_async(sleep)
    else:
        firing.closed()
    return firing
