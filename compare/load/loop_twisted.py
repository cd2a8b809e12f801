"""Waiting of a Twisted client: N coroutines that each await a Deferred, or one with N calls in
flight."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from twisted.internet import defer
from twisted.internet import reactor as installed
from twisted.internet.defer import Deferred, ensureDeferred, gatherResults
from twisted.internet.task import deferLater

from .batch import Batch
from .firing import Start
from .loop_asyncio import items, waits

__all__ = ["items", "run", "sleep", "together", "until_over", "waits"]

reactor: Any = installed


def run(main: Coroutine[Any, Any, None]) -> None:
    failures: list[BaseException] = []

    async def whole() -> None:
        try:
            await main
        except BaseException as error:
            failures.append(error)
        finally:
            reactor.stop()

    reactor.callWhenRunning(lambda: ensureDeferred(whole()))
    reactor.run()
    if failures:
        raise failures[0]


async def sleep(seconds: float) -> None:
    await deferLater(reactor, seconds)


async def together(callers: Sequence[Coroutine[Any, Any, None]], batch: Batch) -> int:
    waiting = list(map(ensureDeferred, callers))
    with suppress(defer.TimeoutError):
        await gatherResults(waiting, consumeErrors=True).addTimeout(batch.patience, reactor)
        return 0
    return sum(not caller.called for caller in waiting) or len(waiting)


async def until_over(start: Start, batch: Batch) -> None:
    over: Deferred[None] = Deferred()
    await start(partial(over.callback, None))
    with suppress(defer.TimeoutError):
        await over.addTimeout(batch.patience, reactor)
