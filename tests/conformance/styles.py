"""How each client style waits, so that a promise is written once.

A promise is a generator function that gets a client. It yields what the client returned (a result,
a coroutine, a Deferred, a
future) or one of the steps below, and is sent what came of it; what failed is raised at its
`yield`.
"""

from __future__ import annotations

import asyncio
import gc
import inspect
import threading
import time
from collections.abc import Callable, Generator
from contextlib import suppress
from importlib import import_module
from typing import Any

from ringback.clients import names

Script = Generator[Any, Any, Any]

# Seconds after which a promise counts as hung.
DEADLINE = 20.0


class Pause:
    """Let other things happen for so many seconds."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds


class Items:
    """The list of all items of a stream, or of the first `limit`, after which the stream is left.
    `seen` has them also where the
    stream fails."""

    def __init__(
        self, stream: Any, limit: int | None = None, seen: list[Any] | None = None
    ) -> None:
        self.stream = stream
        self.limit = limit
        self.seen = seen if seen is not None else []

    @property
    def enough(self) -> bool:
        return self.limit is not None and len(self.seen) >= self.limit


class Leave:
    """Read one item of the stream that `make()` gives, and leave it as a program does that knows no
    `with`: by `break`, `return`, an
    `exception`, or with an `iterator` in a cycle of garbage, which another thread collects."""

    WAYS = ("break", "return", "exception", "iterator")

    def __init__(self, make: Callable[[], Any], way: str) -> None:
        self.make = make
        self.way = way

    @staticmethod
    def collect() -> None:
        collector = threading.Thread(target=gc.collect)
        collector.start()
        collector.join()


class Together:
    """The list of the results of calls that are all in flight at once, each made by a caller of its
    own.
    """

    def __init__(self, *calls: Callable[[], Any]) -> None:
        self.calls = calls


class Begin:
    """A caller of its own for one call: what it yields can be yielded in turn, for the outcome, and
    has `cancel()`, the loop's own
    way to call off one that waits (a thread has none)."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self.call = call


class Style:
    """One client style: how to connect, and how to run a script."""

    name = ""
    # What `fire` returns.
    future: type = object
    # What the loop's own cancel raises.
    cancelled: type[BaseException] = BaseException
    # At the bound of calls in flight `fire` waits (or else fails).
    fire_waits = False
    # `call` gives the result itself.
    blocking = False

    def connect(self, *endpoints: str, **options: Any) -> Any:
        return import_module(f"ringback.clients.{self.name}").connect(*endpoints, **options)

    def run(self, script: Callable[[], Script]) -> None:
        """Run the script to its end."""
        raise NotImplementedError

    def inner(self, work: Callable[[], object]) -> None:
        """Begin something in a caller of its own, from inside a callback."""
        raise NotImplementedError


def _steps(script: Script, wait: Callable[[Any], Any]) -> None:
    outcome: Any = None
    error: BaseException | None = None
    while True:
        try:
            step = script.throw(error) if error is not None else script.send(outcome)
        except StopIteration:
            return
        outcome = error = None
        try:
            outcome = wait(step)
        except Exception as raised:
            error = raised


async def _async_steps(script: Script, wait: Callable[[Any], Any]) -> None:
    outcome: Any = None
    error: BaseException | None = None
    while True:
        try:
            step = script.throw(error) if error is not None else script.send(outcome)
        except StopIteration:
            return
        outcome = error = None
        try:
            outcome = await wait(step)
        except BaseException as raised:
            if isinstance(raised, GeneratorExit):
                raise
            error = raised


class _Blocking(Style):
    fire_waits = True
    blocking = True

    def _items(self, step: Items) -> list[Any]:
        with step.stream as stream:
            for item in stream:
                step.seen.append(item)
                if step.enough:
                    break
        return step.seen

    def _leave(self, step: Leave) -> None:
        def litter() -> None:
            garbage: list[Any] = [iter(step.make())]
            next(garbage[0])
            garbage.append(garbage)

        if step.way == "iterator":
            litter()
            Leave.collect()
            return

        def read() -> None:
            for _ in step.make():
                if step.way == "break":
                    break
                if step.way == "return":
                    return
                raise LookupError("on purpose")

        with suppress(LookupError):
            read()


class _Thread(threading.Thread):
    """A thread that keeps its outcome."""

    def __init__(self, work: Callable[[], Any]) -> None:
        super().__init__(daemon=True)
        self._work = work
        self._result: Any = None
        self._error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self._result = self._work()
        except BaseException as error:
            self._error = error

    def outcome(self) -> Any:
        self.join(DEADLINE)
        assert not self.is_alive(), f"this hung for {DEADLINE} s"
        if self._error is not None:
            raise self._error
        return self._result


class Threading(_Blocking):
    name = "threading"

    def __init__(self) -> None:
        from concurrent.futures import CancelledError, Future

        self.future = Future
        self.cancelled = CancelledError

    def run(self, script: Callable[[], Script]) -> None:
        # Not in the main thread, which is also the reactor's: there the client warns, and rightly.
        _Thread(lambda: _steps(script(), self._wait)).outcome()

    def inner(self, work: Callable[[], object]) -> None:
        work()

    def _wait(self, step: Any) -> Any:
        if isinstance(step, Pause):
            return time.sleep(step.seconds)
        if isinstance(step, Items):
            return self._items(step)
        if isinstance(step, Leave):
            return self._leave(step)
        if isinstance(step, Together):
            return [thread.outcome() for thread in [_Thread(call) for call in step.calls]]
        if isinstance(step, Begin):
            return _Thread(step.call)
        if isinstance(step, _Thread):
            return step.outcome()
        if isinstance(step, self.future):
            return step.result(DEADLINE)
        return step


class Gevent(_Blocking):
    name = "gevent"

    def __init__(self) -> None:
        import gevent
        from gevent.event import AsyncResult

        self._gevent = gevent
        self.future = AsyncResult
        self.cancelled = Killed

    def run(self, script: Callable[[], Script]) -> None:
        with self._gevent.Timeout(DEADLINE, AssertionError(f"this hung for {DEADLINE} s")):
            _steps(script(), self._wait)

    def inner(self, work: Callable[[], object]) -> None:
        work()

    def _wait(self, step: Any) -> Any:
        if isinstance(step, Pause):
            return self._gevent.sleep(step.seconds)
        if isinstance(step, Items):
            return self._items(step)
        if isinstance(step, Leave):
            return self._leave(step)
        if isinstance(step, Together):
            greenlets = [_Greenlet(self._gevent, call) for call in step.calls]
            return [greenlet.outcome() for greenlet in greenlets]
        if isinstance(step, Begin):
            return _Greenlet(self._gevent, step.call)
        if isinstance(step, _Greenlet):
            return step.outcome()
        if isinstance(step, self.future):
            return step.get()
        return step


class Killed(Exception):
    """A greenlet was killed; GreenletExit itself would end the test's own."""


class _Greenlet:
    """A greenlet that keeps its outcome, also where it was killed."""

    def __init__(self, gevent: Any, work: Callable[[], Any]) -> None:
        self._outcome: tuple[Any, BaseException | None] = None, None
        self._greenlet = gevent.spawn(self._run, work)

    def _run(self, work: Callable[[], Any]) -> None:
        try:
            self._outcome = work(), None
        except BaseException as error:
            self._outcome = None, error

    def cancel(self) -> None:
        self._greenlet.kill(block=False)

    def outcome(self) -> Any:
        self._greenlet.join()
        result, error = self._outcome
        if error is not None:
            raise error if isinstance(error, Exception) else Killed()
        return result


class Asyncio(Style):
    name = "asyncio"
    future = asyncio.Future
    cancelled = asyncio.CancelledError

    def run(self, script: Callable[[], Script]) -> None:
        async def main() -> None:
            async with asyncio.timeout(DEADLINE):
                await _async_steps(script(), self._wait)

        asyncio.run(main())

    def inner(self, work: Callable[[], object]) -> None:
        made = work()
        if inspect.iscoroutine(made):
            self._inner = asyncio.ensure_future(made)  # kept from the garbage collector

    async def _wait(self, step: Any) -> Any:
        if isinstance(step, Pause):
            return await asyncio.sleep(step.seconds)
        if isinstance(step, Items):
            return await _async_items(step)
        if isinstance(step, Leave):
            return await _async_leave(step)
        if isinstance(step, Together):
            return await asyncio.gather(*(call() for call in step.calls))
        if isinstance(step, Begin):
            task = asyncio.ensure_future(step.call())
            await asyncio.sleep(0)
            return _Caller(task)
        if isinstance(step, _Caller):
            return await step.waits
        return await step if inspect.isawaitable(step) else step


class _Caller:
    """A task or a Deferred, not to be waited for at once."""

    def __init__(self, waits: Any) -> None:
        self.waits = waits
        self.cancel = waits.cancel


class Twisted(Style):
    name = "twisted"

    def __init__(self) -> None:
        from twisted.internet.defer import CancelledError, Deferred

        self.future = Deferred
        self.cancelled = CancelledError

    def run(self, script: Callable[[], Script]) -> None:
        import pytest_twisted
        from twisted.internet import defer, reactor, task

        def main() -> Any:
            running = defer.ensureDeferred(_async_steps(script(), self._wait))
            return running.addTimeout(DEADLINE, reactor)

        pytest_twisted.blockon(task.deferLater(reactor, 0, main))

    def inner(self, work: Callable[[], object]) -> None:
        work()

    async def _wait(self, step: Any) -> Any:
        from twisted.internet import defer, reactor, task

        if isinstance(step, Pause):
            return await task.deferLater(reactor, step.seconds)
        if isinstance(step, Items):
            return await _async_items(step)
        if isinstance(step, Leave):
            return await _async_leave(step)
        if isinstance(step, Together):
            return await defer.gatherResults([call() for call in step.calls], consumeErrors=True)
        if isinstance(step, Begin):
            return _Caller(step.call())
        if isinstance(step, _Caller):
            return await step.waits
        return await step if inspect.isawaitable(step) else step


async def _async_items(step: Items) -> list[Any]:
    async with step.stream as stream:
        async for item in stream:
            step.seen.append(item)
            if step.enough:
                break
    return step.seen


async def _async_leave(step: Leave) -> None:
    async def litter() -> None:
        garbage: list[Any] = [aiter(step.make())]
        await anext(garbage[0])
        garbage.append(garbage)

    if step.way == "iterator":
        await litter()
        Leave.collect()
        return

    async def read() -> None:
        async for _ in step.make():
            if step.way == "break":
                break
            if step.way == "return":
                return
            raise LookupError("on purpose")

    with suppress(LookupError):
        await read()


STYLES: dict[str, Callable[[], Style]] = {
    "threading": Threading,
    "gevent": Gevent,
    "asyncio": Asyncio,
    "twisted": Twisted,
}
# A style of another package tells in a module of its own how it waits.
for other in names():
    if other not in STYLES:
        STYLES[other] = import_module(f"{other}_style").Style
