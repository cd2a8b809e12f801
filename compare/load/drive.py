"""Make the calls of one batch with clients of any style.

Request-reply callers are coroutines that await each call; fire-and-callback callers use callbacks.
The `loop_*.py` files implement waiting for each client style. With a blocking client the coroutines
never suspend.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import suppress
from functools import partial
from itertools import cycle
from time import monotonic
from typing import Any, Protocol

from ..scenario import KEY, Call, Script
from .batch import Batch
from .callers import Caller
from .firing import Firing, Start
from .plan import REQUEST_REPLY

Invoke = Callable[..., Any]


class ClientLoop(Protocol):
    """How a client style waits. `waits`: its calls return awaitables, not results."""

    waits: bool

    def run(self, main: Coroutine[Any, Any, None]) -> None:
        """Run the coroutine to its end."""

    async def sleep(self, seconds: float) -> None:
        """Wait for these seconds."""

    async def together(self, callers: Sequence[Coroutine[Any, Any, None]], batch: Batch) -> int:
        """Run the callers concurrently. Returns how many have not ended after `batch.patience`."""

    async def until_over(self, start: Start, batch: Batch) -> None:
        """Call `start` with a callback, and wait until it is called, at most `batch.patience`."""

    def items(self, stream: Callable[..., Any]) -> Invoke:
        """A function that makes a streaming call and returns all its items."""


async def measure(loop: ClientLoop, clients: Sequence[Any], batch: Batch) -> None:
    """Make the calls of the batch; each caller uses one client. Raises RuntimeError if calls are
    lost."""
    prepared = [_prepared(client, batch) for client in clients]
    if batch.cell.load.style == REQUEST_REPLY:
        if batch.workload.stream:
            invokes = [loop.items(client.stream) for client in prepared]
        else:
            invokes = [client.call for client in prepared]
        dues = iter(batch.dues) if batch.cell.load.open else None
        callers = [
            _call(loop, invoke, caller, dues, batch.stops)
            for caller, invoke in zip(batch.callers, cycle(invokes), strict=False)
        ]
        left = await loop.together(callers, batch)
        batch.ends()
        batch.check(left)
    else:
        firing = Firing([client.fire for client in prepared], batch)
        await loop.until_over(partial(firing.start, loop.sleep), batch)
        batch.check(firing.left)
    await _run(loop, clients[0].call, batch.ending())


async def _call(
    loop: ClientLoop, invoke: Invoke, caller: Caller, dues: Iterator[float] | None, stops: float
) -> None:
    """Make one call after another: in a closed loop until the window closes, in an open loop the
    next due arrival. Arrivals that no caller has taken at `stops` are skipped."""
    waits, due = loop.waits, None
    while True:
        if dues is not None:
            due = next(dues, None)
            if due is None:
                return
            if (early := due - monotonic()) > 0:
                await loop.sleep(early)
            elif monotonic() >= stops:
                return
        call = caller.begin(due)
        if call is None:
            return
        try:
            result = invoke(call.method, *call.args, **call.kwargs)
            if waits:
                result = await result
        except Exception as error:
            caller.fail(error)
        else:
            caller.reply(result)


async def _run(loop: ClientLoop, invoke: Invoke, script: Script) -> None:
    """Make the calls of a script, one after another. Errors are raised in the script."""
    resume: Callable[[], Call] = partial(next, script)
    with suppress(StopIteration):
        while True:
            call = resume()
            try:
                result = invoke(call.method, *call.args, **call.kwargs)
                if loop.waits:
                    result = await result
            except Exception as error:
                resume = partial(script.throw, error)
            else:
                resume = partial(script.send, result)


def _prepared(client: Any, batch: Batch) -> Any:
    """The client with the timeout of the batch's calls, and with keys if the workload has them."""
    timeout = batch.cell.load.timeout
    if timeout is not None:
        client = client.options(timeout=timeout)
    return _Keyed(client) if batch.workload.keyed else client


class _Keyed:
    """A client that accepts an idempotency key as a keyword of each call."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def call(self, method: str, /, *args: Any, **kwargs: Any) -> Any:
        return self._with(kwargs).call(method, *args, **kwargs)

    def fire(self, method: str, /, *args: Any, **kwargs: Any) -> Any:
        return self._with(kwargs).fire(method, *args, **kwargs)

    def _with(self, kwargs: dict[str, Any]) -> Any:
        key = kwargs.pop(KEY, None)
        return self._client if key is None else self._client.options(idempotency_key=key)
