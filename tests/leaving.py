"""A service whose handlers leave something behind, or share what they wait for: `service`."""

from __future__ import annotations

import asyncio
from typing import Any

import ringback
from ringback import errors

service = ringback.Service("leaving")

shared: dict[str, Any] = {}


@service.method
def nap(seconds: float) -> float:
    from gevent import sleep

    sleep(seconds)
    return seconds


@service.method
def leaves_timeout(seconds: float, wait: float | None) -> None:
    "For gevent."
    import gevent

    if wait is not None:
        gevent.sleep(wait)
    gevent.Timeout(seconds).start()


@service.method
async def stops_loop() -> str:
    asyncio.get_running_loop().stop()
    return "stopped"


@service.method
async def leaves_task_that_exits() -> str:
    async def exits() -> None:
        raise SystemExit("of a task")

    shared["task"] = asyncio.create_task(exits())
    return "left"


@service.method
async def add(a: int, b: int) -> int:
    await asyncio.sleep(0)
    return a + b


@service.method(inline=True)
def waits(key: str) -> Any:
    "For asyncio and Twisted: all who ask with this key wait for the same."
    if key not in shared:
        shared[key] = _future()
    return shared[key]


@service.method(inline=True)
def settle(key: str, result: Any, fails: bool) -> None:
    future = shared[key]
    if type(future).__name__ == "Deferred":
        if fails:
            future.errback(errors.Aborted(result))
        else:
            future.callback(result)
    elif fails:
        future.set_exception(errors.Aborted(result))
    else:
        future.set_result(result)


@service.method(inline=True)
def is_cancelled(key: str) -> bool:
    future = shared[key]
    return bool(future.called if type(future).__name__ == "Deferred" else future.cancelled())


def _future() -> Any:
    try:
        return asyncio.get_running_loop().create_future()
    except RuntimeError:
        from twisted.internet.defer import Deferred

        deferred: Deferred[Any] = Deferred()
        return deferred
