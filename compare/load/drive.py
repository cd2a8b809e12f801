"""The calls of one batch, made by clients of any style: request-reply as coroutines that wait for each of their calls, fire-and-callback by
callbacks. How they wait is the `loop_*.py` files' own; a blocking client is one whose coroutines never have to.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import suppress
from functools import partial
from itertools import cycle
from time import monotonic
from typing import Any, Protocol

from ..scenario import KEY, Call, Script
from .batch import Batch
from .callers import Caller
from .firing import Firing, Sleep, Start
from .plan import REQUEST_REPLY

Invoke = Callable[..., Awaitable[Any]]


class Loop(Protocol):
    """How a client style waits."""

    def run(self, main: Coroutine[Any, Any, None]) -> None:
        """Do it."""

    async def sleep(self, seconds: float) -> None:
        """So long."""

    async def together(self, callers: Sequence[Coroutine[Any, Any, None]], batch: Batch) -> int:
        """Run them side by side. How many have not ended when the batch has no more patience."""

    async def until_over(self, start: Start, batch: Batch) -> None:
        """Start something, and wait until it calls what it is given, as long as the batch has patience."""

    def awaited(self, call: Callable[..., Any]) -> Invoke:
        """The same call, to be awaited."""

    def items(self, stream: Callable[..., Any]) -> Invoke:
        """What reads a stream to its end."""


async def measure(loop: Loop, clients: Sequence[Any], batch: Batch) -> None:
    """Make the calls; a caller keeps to one client. Raises RuntimeError where calls are lost."""
    prepared = [_prepared(client, batch) for client in clients]
    if batch.cell.load.style == REQUEST_REPLY:
        if batch.workload.stream:
            invokes = [loop.items(client.stream) for client in prepared]
        else:
            invokes = [loop.awaited(client.call) for client in prepared]
        dues = iter(batch.dues)
        callers = [
            _answer(invoke, caller, dues, batch.stops, loop.sleep)
            if batch.cell.load.open
            else _call(invoke, caller)
            for caller, invoke in zip(batch.callers, cycle(invokes), strict=False)
        ]
        left = await loop.together(callers, batch)
        batch.ends()
        batch.check(left)
    else:
        firing = Firing([client.fire for client in prepared], batch)
        await loop.until_over(partial(firing.start, loop.sleep), batch)
        batch.check(firing.left)
    await _run(loop.awaited(clients[0].call), batch.ending())


async def _call(invoke: Invoke, caller: Caller) -> None:
    """A closed loop: one call after another until the window closes."""
    while (call := caller.begin()) is not None:
        await _one(invoke, caller, call)


async def _answer(invoke: Invoke, caller: Caller, dues: Iterator[float], stops: float, sleep: Sleep) -> None:
    """An open loop: of all that is due, take what comes next; what nobody took until it stops is skipped."""
    for due in dues:
        if (early := due - monotonic()) > 0:
            await sleep(early)
        elif monotonic() >= stops:
            return
        call = caller.begin(due)
        assert call is not None
        await _one(invoke, caller, call)


async def _one(invoke: Invoke, caller: Caller, call: Call) -> None:
    try:
        result = await invoke(call.method, *call.args, **call.kwargs)
    except Exception as error:
        caller.fail(error)
    else:
        caller.reply(result)


async def _run(invoke: Invoke, script: Script) -> None:
    """The calls that a script makes by itself, one after another. It is told of errors, and ends with them if it does not catch them."""
    resume: Callable[[], Call] = partial(next, script)
    with suppress(StopIteration):
        while True:
            call = resume()
            try:
                result = await invoke(call.method, *call.args, **call.kwargs)
            except Exception as error:
                resume = partial(script.throw, error)
            else:
                resume = partial(script.send, result)


def _prepared(client: Any, batch: Batch) -> Any:
    """The client, with the time that each call of the batch has, and for calls that may bring a key."""
    timeout = batch.cell.load.timeout
    if timeout is not None:
        client = client.options(timeout=timeout)
    return _Keyed(client) if batch.workload.keyed else client


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
