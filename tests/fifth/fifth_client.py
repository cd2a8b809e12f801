"""A client style of another package: coroutines on a `FifthLoop`, which await futures of its own."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from contextvars import Context, copy_context
from typing import Any

from fifth_loop import FifthLoop
from ringback import errors
from ringback.backends.base import Handle, Report
from ringback.clients.awaiting import AwaitingClient
from ringback.clients.callbacks.running import run_callback
from ringback.clients.callbacks.unseen import unseen
from ringback.clients.calls.fired import FiredCall
from ringback.clients.connections.core import ClientCore
from ringback.clients.conversation.calls import OutgoingCall


class Cancelled(Exception):
    """Raised in a task that was cancelled."""


class Future:
    def __init__(self) -> None:
        self.done, self._result, self._error = False, None, None
        self._then: list[Callable[[], object]] = []

    def settle(self, result: Any, error: BaseException | None) -> None:
        if not self.done:
            self.done, self._result, self._error = True, result, error
            for function in self._then:
                function()

    def then(self, function: Callable[[], object]) -> None:
        self._then.append(function)
        if self.done:
            function()

    def cancel(self) -> None:
        self.settle(None, Cancelled())

    def __await__(self) -> Generator[Future, None, Any]:
        if not self.done:
            yield self
        if self._error is not None:
            raise self._error
        return self._result


class FiredFuture(Future):
    """It says so where nobody has looked at its error."""

    def __init__(self, call: Fired) -> None:
        super().__init__()
        self.call, self.method, self.seen = call, call.method, False

    def cancel(self) -> None:
        super().cancel()
        self.seen = True
        core = self.call.client._shared.core
        core.cancel(self.call, errors.Cancelled(f"{self.method} was cancelled by its caller"))

    def __await__(self) -> Generator[Future, None, Any]:
        self.seen = True
        return super().__await__()

    def __del__(self) -> None:
        if self._error is not None and not self.seen:
            unseen(self.method, self._error)


class Task(Future):
    """A coroutine that runs on the loop."""

    def __init__(
        self, loop: FifthLoop, coroutine: Coroutine[Any, Any, Any], context: Context
    ) -> None:
        super().__init__()
        self._loop, self._coroutine, self._context = loop, coroutine, context
        self._waits: Future | None = None
        loop.call_soon(self._step)

    def cancel(self) -> None:
        if self._waits is not None:
            self._waits.cancel()

    def _step(self) -> None:
        try:
            waits = self._waits = self._context.run(self._coroutine.send, None)
        except StopIteration as end:
            self.settle(end.value, None)
        except BaseException as error:
            self.settle(None, error)
        else:
            waits.then(lambda: self._loop.call_soon(self._step))


class Gate:
    def __init__(self) -> None:
        self._open, self._waiter = False, Future()

    async def wait(self) -> None:
        if not self._open:
            self._waiter = Future()
            await self._waiter
        self._open = False

    def open(self) -> None:
        self._open = True
        self._waiter.settle(None, None)


class FifthClientLoop(FifthLoop):
    """One on which coroutines run that await its own futures."""

    running: FifthClientLoop | None = None

    def native_gate(self) -> Gate:
        return Gate()

    def run_native(
        self, coroutine: Coroutine[Any, Any, Any], report: Report, context: Context
    ) -> Handle:
        task = Task(self, coroutine, context)
        task.then(lambda: report(task._result, task._error))
        return task

    def run_main(self, main: Coroutine[Any, Any, Any]) -> Any:
        """Run the loop until the coroutine has ended; what it returns, or raises."""
        FifthClientLoop.running = self
        ended: list[Any] = []

        def over(result: Any, error: BaseException | None) -> None:
            ended.extend((result, error))
            self.stop()

        self.run(lambda: self.run_native(main, over, copy_context()))
        self.close()
        if ended[1] is not None:
            raise ended[1]
        return ended[0]


class Call(OutgoingCall):
    __slots__ = ("future",)

    def finish(self, result: Any, error: BaseException | None) -> None:
        self.future.settle(result, error)


class Fired(FiredCall):
    __slots__ = ("future",)

    def finish(self, result: Any, error: BaseException | None) -> None:
        future, self.future = self.future, None
        future.seen = self.errback is not None
        future.settle(result, error)
        if error is None and self.callback is not None:
            run_callback(self.method, self.callback, result)
        if error is not None and self.errback is not None:
            run_callback(self.method, self.errback, error)
        self.client._tell_listeners(self, result, error)


class FifthClient(AwaitingClient):
    _fired_kind = Fired

    @classmethod
    def run_program(cls, main: Coroutine[Any, Any, None]) -> None:
        FifthClientLoop().run_main(main)

    async def call(self, method: str, /, *args: Any, **kwargs: Any) -> Any:
        core = self._core()
        call = self._outgoing(Call, method, args, kwargs)
        while core.full:
            await self._wait_for_room(core, self._time_for_room(call))
        call.future = Future()
        self._start(core, call, args, kwargs)
        try:
            return await call.future
        except Cancelled:
            core.cancel(call, errors.Cancelled(f"{method} was cancelled by its caller"))
            raise

    def _future(self, core: ClientCore, call: Fired) -> FiredFuture:
        call.future = FiredFuture(call)
        return call.future

    async def _outcomes(self, futures: list[FiredFuture]) -> list[Any]:
        outcomes: list[Any] = []
        for future in futures:
            try:
                outcomes.append(await future)
            except errors.CallError as error:
                outcomes.append(error)
        return outcomes

    def _awaitable(self, coroutine: Coroutine[Any, Any, Any]) -> Coroutine[Any, Any, Any]:
        return coroutine

    def _core(self) -> ClientCore:
        self._check_usable()
        loop = FifthClientLoop.running
        core = self._shared.core
        if core is None:
            assert loop is not None, "a fifth client needs a fifth loop that runs"
            return self._make_core(loop)
        if core.loop is not loop:
            raise RuntimeError("this client belongs to another fifth loop")
        return core
