"""The Twisted client under load: N coroutines that each await their call's Deferred, or one with N calls outstanding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from twisted.internet import reactor as installed
from twisted.internet.defer import Deferred, ensureDeferred

from ..clients.twisted import TwistedClient, connect
from .caller import Batch, Firing, call_async
from .plan import REQUEST_REPLY, Plan
from .results import Result

reactor: Any = installed


def drive(plan: Plan, report: Callable[[Result], None]) -> None:
    """Measure the cells in order. Raises RuntimeError where calls are lost."""
    failures: list[BaseException] = []

    async def main() -> None:
        try:
            await _drive(plan, report)
        except BaseException as error:
            failures.append(error)
        finally:
            reactor.stop()

    reactor.callWhenRunning(lambda: ensureDeferred(main()))
    reactor.run()
    if failures:
        raise failures[0]


async def _drive(plan: Plan, report: Callable[[Result], None]) -> None:
    client = connect(plan.endpoint, timeout=plan.timeout, max_in_flight=plan.max_in_flight)
    try:
        for cell in plan.cells:
            batch = Batch(plan, cell)
            await (_request_reply if cell.style == REQUEST_REPLY else _fire_and_callback)(client, batch)
            report(batch.result())
    finally:
        await client.close(now=True)


async def _request_reply(client: TwistedClient, batch: Batch) -> None:
    callers = [ensureDeferred(call_async(client, caller)) for caller in batch.callers]
    batch.check(await _wait(callers, batch.patience))


async def _fire_and_callback(client: TwistedClient, batch: Batch) -> None:
    ended: list[Deferred[None]] = [Deferred() for _ in batch.callers]
    for caller, deferred in zip(batch.callers, ended, strict=True):
        Firing(client, caller, partial(deferred.callback, None)).fire()
    batch.check(await _wait(ended, batch.patience))


async def _wait(deferreds: Sequence[Deferred[None]], patience: float) -> int:
    """How many of them have fired when all have, or when the time is up."""
    fired = 0
    all_fired: Deferred[None] = Deferred()

    def one(_: object) -> None:
        nonlocal fired
        fired += 1
        if fired == len(deferreds):
            end()

    def end() -> None:
        if not all_fired.called:
            all_fired.callback(None)

    for deferred in deferreds:
        deferred.addBoth(one)
    timer = reactor.callLater(patience, end)
    await all_fired
    if timer.active():
        timer.cancel()
    return fired
