"""A Twisted client under load: N coroutines that each await their call's Deferred, or one with N calls outstanding."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from twisted.internet import defer
from twisted.internet import reactor as installed
from twisted.internet.defer import Deferred, ensureDeferred, gatherResults
from twisted.internet.task import deferLater

from .batch import Batch
from .work import Work, drive_async, fire_async

reactor: Any = installed


def drive(work: Work) -> None:
    """Do it. Raises RuntimeError where calls are lost."""
    failures: list[BaseException] = []

    async def main() -> None:
        try:
            await drive_async(work, _together, _fire, _sleep)
        except BaseException as error:
            failures.append(error)
        finally:
            reactor.stop()

    reactor.callWhenRunning(lambda: ensureDeferred(main()))
    reactor.run()
    if failures:
        raise failures[0]


def _sleep(seconds: float) -> Any:
    return deferLater(reactor, seconds)


async def _together(batch: Batch, callers: list[Any]) -> None:
    waiting = [ensureDeferred(caller) for caller in callers]
    try:
        await gatherResults(waiting, consumeErrors=True).addTimeout(batch.patience, reactor)
    except defer.TimeoutError:
        batch.check(sum(not caller.called for caller in waiting) or len(waiting))


async def _fire(clients: Sequence[Any], batch: Batch) -> None:
    over: Deferred[None] = Deferred()
    firing = await fire_async(clients, batch, partial(over.callback, None), _sleep)
    try:
        await over.addTimeout(batch.patience, reactor)
    except defer.TimeoutError:
        batch.check(firing.left)
