"""The asyncio client: `call` is awaited, `fire` returns an asyncio.Future, callbacks run on the loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Context
from types import TracebackType
from typing import Any, Self

from .. import errors, forks
from ..backends.asyncio import AsyncioLoop
from ..backends.asyncio_gate import AsyncioGate
from ..backends.native import get_ident
from ..protocol.calls import OutgoingCall
from ..protocol.streams import WINDOW
from .base import Answer, Callback, Client, Errback, in_context, run_callback
from .core import ClientCore
from .options import seconds_to_close
from .streams import AsyncStream, StreamCall
from .unseen import unseen
from .uploads import AsyncUpload


class _Call(OutgoingCall):
    __slots__ = ("future",)
    future: asyncio.Future[Any] | None

    def finish(self, result: Any, error: BaseException | None) -> None:
        future = self.future
        if future is None or future.done():
            return
        try:
            if error is None:
                future.set_result(result)
            elif isinstance(error, StopIteration):  # which asyncio does not take
                future.set_exception(RuntimeError(f"{self.method} ended with {error!r}"))
            else:
                future.set_exception(error)
        except RuntimeError:
            if not future.get_loop().is_closed():  # else nobody is left who could be told
                raise


class _Fired(_Call):
    __slots__ = ("callback", "client", "errback")
    client: AsyncioClient
    callback: Callback | None
    errback: Errback | None

    def disown(self, error: BaseException) -> None:
        super().finish(None, error)
        if self.future is not None and not self.future.cancelled():
            self.future.exception()  # who awaits it observes it

    def finish(self, result: Any, error: BaseException | None) -> None:
        super().finish(result, error)
        future, self.future = self.future, None  # the two must not keep each other alive
        if error is None:
            if self.callback is not None:
                run_callback(self.method, self.callback, result)
        elif self.errback is not None:
            if future is not None and not future.cancelled():
                future.exception()  # the errback observes it
            run_callback(self.method, self.errback, error)
        self.client._tell_listeners(self, result, error)


class FiredFuture(asyncio.Future[Any]):
    """The outcome of a fired call; cancelling it cancels the call."""

    call: _Fired

    def __del__(self) -> None:
        """Where nobody has looked at an error, asyncio would log each."""
        if self._log_traceback:
            error = self.exception()  # which counts as a look
            if error is not None:
                unseen(self.call.method, error)

    def cancel(self, msg: Any | None = None) -> bool:
        cancelled = super().cancel(msg)
        if cancelled:
            core = self.call.client._shared.core
            assert core is not None
            core.cancel(self.call, errors.Cancelled(f"{self.call.method} was cancelled by its caller"))
        return cancelled


class AsyncioClient(Client):
    """Calls a service from one asyncio loop, the one that runs at first use.

    At the bound of calls in flight `call` waits, and `fire` fails with ResourceExhausted: `await client.ready()` paces it.
    """

    async def call(self, method: str, /, *args: Any, **kwargs: Any) -> Any:
        """The result. Raises the classes of `ringback.errors`."""
        core = self._core()
        call = self._outgoing(_Call, method, args, kwargs)
        while core.full:
            await self._wait_for_room(core, self._time_for_room(call))
        future = call.future = asyncio.Future(loop=self._shared.loop)
        self._start(core, call, args, kwargs)
        try:
            return await future
        except asyncio.CancelledError:
            core.cancel(call, errors.Cancelled(f"{method} was cancelled by its caller"))
            raise
        finally:
            # The error's traceback has this frame: together they would wait for the garbage collector.
            del call, future

    def fire(
        self,
        method: str,
        /,
        *args: Any,
        callback: Callback | None = None,
        errback: Errback | None = None,
        **kwargs: Any,
    ) -> FiredFuture:
        """Send the call and go on. `callback(result)` or `errback(error)` runs on the loop, exactly once."""
        core = self._core()
        future = FiredFuture(loop=self._shared.loop)
        try:
            call = self._outgoing(_Fired, method, args, kwargs)
            if core.full:
                raise errors.ResourceExhausted(f"{method}: {core.bound}")
        except errors.CallError as error:
            call = self._unsent(_Fired, method)
            failure: errors.CallError | None = error
        else:
            failure = None
        call.client, call.future = self, future
        call.callback, call.errback = in_context(callback), in_context(errback)
        future.call = call
        if failure is not None:
            self._shared.loop.call_soon(call.finish, None, failure)
        else:
            self._start(core, call, args, kwargs)
        return future

    async def call_all(self, method: str, /, *args: Any, **kwargs: Any) -> list[Answer]:
        """What each server that is known answers, as a list of `Answer`: a result, or the error. Nothing is sent twice."""
        await self.call("ringback.ping")  # there may be servers to be found, and links to be opened, first
        endpoints, futures = self._fan_out(method, args, kwargs)
        outcomes = await asyncio.gather(*futures, return_exceptions=True)
        return [
            Answer(endpoint, None, outcome)
            if isinstance(outcome, BaseException)
            else Answer(endpoint, outcome, None)
            for endpoint, outcome in zip(endpoints, outcomes, strict=True)
        ]

    def notify(self, method: str, /, *args: Any, **kwargs: Any) -> None:
        """Send a call that is never answered."""
        self._core().notify(self._note(method, args, kwargs))

    def stream(self, method: str, /, *args: Any, **kwargs: Any) -> AsyncStream:
        """The items, as an async iterator; leaving it early (`aclose`, `async with`) cancels the call."""
        core = self._core()
        call = self._outgoing(StreamCall, method, args, kwargs, credit=WINDOW)
        stream = AsyncStream(core, call, AsyncioGate())
        self._start(core, call, args, kwargs)
        return stream

    async def ready(self) -> None:
        """Wait until there is room below the bound of calls in flight."""
        await self._wait_for_room(self._core(), None)

    async def _wait_for_room(self, core: ClientCore, seconds: float | None) -> None:
        room = self._shared.loop.create_future()
        core.when_room(_settle(room), seconds)
        await room

    async def close(self, timeout: float | None = 30.0, *, now: bool = False) -> None:
        """Wait for what is in flight, at most `timeout` seconds (not at all with `now=True`), end the rest with Cancelled."""
        self._check_closable()
        seconds = seconds_to_close(timeout)
        core, loop = self._shared.core, self._shared.loop
        inherited = (
            self._shared.generation != forks.generation
        )  # and closed: `get_running_loop` knows none in a child
        if not (inherited or loop is None or loop.is_closed() or loop is asyncio.get_running_loop()):
            raise RuntimeError("this client belongs to another asyncio loop: close it on that one")
        self._shared.close()
        if core is not None and not core.closed:
            if not now and not loop.is_closed():
                idle = loop.create_future()
                core.when_idle(_settle(idle))
                await asyncio.wait([idle], timeout=seconds)
            core.close("the client was closed")

    async def __aenter__(self) -> Self:
        self._core()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _upload(self, call: OutgoingCall, iterator: Any) -> AsyncUpload:
        assert self._shared.core is not None
        return AsyncUpload(self._shared.core, call, iterator, AsyncioGate(), _spawn)

    def _core(self) -> ClientCore:
        shared = self._shared
        if shared.owner == get_ident() and shared.core is not None and shared.loop.is_running():
            return shared.core
        return self._bind()

    def _bind(self) -> ClientCore:
        """The first use, or a mistake."""
        self._check_usable()
        shared = self._shared
        if shared.core is not None:
            raise RuntimeError("this client belongs to another asyncio loop: connect again on this one")
        try:
            running = asyncio.get_running_loop()
        except RuntimeError:
            raise RuntimeError(
                "the asyncio client needs a running asyncio loop: use it in a coroutine, or use ringback.connect"
            ) from None
        shared.loop = running
        return self._make_core(AsyncioLoop(running=running))


def _spawn(context: Context, work: Callable[[], Any]) -> Callable[[], object]:
    return asyncio.get_running_loop().create_task(work(), context=context).cancel


def _settle(future: asyncio.Future[None]) -> Callable[[], None]:
    def settle() -> None:
        if not future.done():
            future.set_result(None)

    return settle


def connect(*endpoints: str, **options: Any) -> AsyncioClient:
    """An asyncio client; it binds to the running loop at first use. The options are those of `Client`."""
    return AsyncioClient(*endpoints, **options)
