"""The asyncio client: `call` is awaited, `fire` returns an asyncio.Future, callbacks run on the
loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine
from typing import TYPE_CHECKING, Any, Generic, Self, Unpack, overload

from .. import errors
from ..backends.asyncio import AsyncioLoop
from ..backends.native import get_ident
from ..options.signatures import takes
from ..runtime import forks
from .awaiting import AwaitingClient
from .callbacks.running import run_callback
from .callbacks.unseen import unseen
from .calls.fired import FiredCall
from .calls.results import R, T
from .connections.core import ClientCore
from .conversation.calls import ENDED, OutgoingCall
from .options import ConnectOptions, UntypedOptions, ViewOptions

if TYPE_CHECKING:
    from .base import Answer


class _Call(OutgoingCall):
    __slots__ = ("future",)
    future: asyncio.Future[Any]

    def finish(self, result: Any, error: BaseException | None) -> None:
        _settle(self.future, self.method, result, error)


class _Fired(FiredCall):
    __slots__ = ("future",)
    future: FiredFuture | None

    def disown(self, error: BaseException) -> None:
        self.state = ENDED
        future = self.future
        if future is not None:
            _settle(future, self.method, None, error)
            if not future.cancelled():
                future.exception()  # marks it as retrieved; an awaiting caller still gets the error

    def finish(self, result: Any, error: BaseException | None) -> None:
        future, self.future = self.future, None  # the two must not keep each other alive
        if future is not None:
            _settle(future, self.method, result, error)
        if error is None:
            if self.callback is not None:
                run_callback(self.method, self.callback, result)
        elif self.errback is not None:
            if future is not None and not future.cancelled():
                future.exception()  # the errback observes it
            run_callback(self.method, self.errback, error)
        self.client._tell_listeners(self, result, error)


def _settle(
    future: asyncio.Future[Any], method: str, result: Any, error: BaseException | None
) -> None:
    if future.done():
        return
    try:
        if error is None:
            future.set_result(result)
        elif isinstance(error, StopIteration):  # asyncio does not accept it
            future.set_exception(RuntimeError(f"{method} ended with {error!r}"))
        else:
            future.set_exception(error)
    except RuntimeError:
        if not future.get_loop().is_closed():  # on a closed loop no caller is left
            raise


class FiredFuture(asyncio.Future[Any]):
    """The outcome of a fired call; cancelling it cancels the call."""

    call: _Fired

    def __del__(self) -> None:
        """Report an error that the program never retrieved. (asyncio would log each one.)"""
        if self._log_traceback:
            error = self.exception()  # marks it as retrieved
            if error is not None:
                unseen(self.call.method, error)

    def cancel(self, msg: Any | None = None) -> bool:
        cancelled = super().cancel(msg)
        if cancelled:
            core = self.call.client._shared.core
            assert core is not None
            core.cancel(
                self.call, errors.Cancelled(f"{self.call.method} was cancelled by its caller")
            )
        return cancelled


class AsyncioClient(AwaitingClient[asyncio.Future[R], R], Generic[R]):
    """A client for one asyncio loop, the one that runs at first use.

    At the bound of calls in flight, `call` waits and `fire` fails with ResourceExhausted; pace it
    with `await client.ready()`.
    """

    future = "asyncio:Future"
    _fired_kind = _Fired

    if TYPE_CHECKING:

        @overload  # type: ignore[override]
        def options(self, **changes: Unpack[UntypedOptions]) -> Self: ...
        @overload
        def options(
            self, *, returns: type[T], **changes: Unpack[UntypedOptions]
        ) -> AsyncioClient[T]: ...
        @overload
        def options(
            self, *, returns: Any, **changes: Unpack[UntypedOptions]
        ) -> AsyncioClient[Any]: ...
        def options(self, **changes: Unpack[ViewOptions]) -> Any: ...

        def call_all(
            self, method: str, /, *args: Any, **kwargs: Any
        ) -> Coroutine[Any, Any, list[Answer]]: ...

        def ready(self) -> Coroutine[Any, Any, None]: ...

        def close(
            self, timeout: float | None = 30.0, *, now: bool = False
        ) -> Coroutine[Any, Any, None]: ...

    @classmethod
    def run_program(cls, main: Coroutine[Any, Any, None]) -> None:
        asyncio.run(main)

    async def call(self, method: str, /, *args: Any, **kwargs: Any) -> R:
        """Call a method and await its result. Raises the classes of `ringback.errors`."""
        core = self._core()
        call = self._outgoing(_Call, method, args, kwargs)
        while core.full:
            await self._wait_for_room(core, self._time_for_room(call))
        future = call.future = asyncio.Future(loop=self._shared.loop)
        self._start(core, call, args, kwargs)
        try:
            result: R = await future
            return result
        except asyncio.CancelledError:
            core.cancel(call, errors.Cancelled(f"{method} was cancelled by its caller"))
            raise
        finally:
            # The error's traceback holds this frame: without this, only the garbage collector would
            # free them.
            del call, future

    def _future(self, core: ClientCore, call: _Fired) -> FiredFuture:  # noqa: ARG002
        future = call.future = FiredFuture(loop=self._shared.loop)
        future.call = call
        return future

    def _outcomes(self, futures: list[Any]) -> Awaitable[list[Any]]:
        return asyncio.gather(*futures, return_exceptions=True)

    def _awaitable(self, coroutine: Coroutine[Any, Any, Any]) -> Coroutine[Any, Any, Any]:
        return coroutine

    async def _close(self, seconds: float) -> None:
        await super()._close(seconds)
        await asyncio.sleep(0)  # queued listeners run before this returns

    def _check_loop(self) -> None:
        loop = self._shared.loop
        # (an inherited client is closed already: a forked child has no running loop)
        inherited = self._shared.generation != forks.generation
        if not (
            inherited or loop is None or loop.is_closed() or loop is asyncio.get_running_loop()
        ):
            raise RuntimeError("this client belongs to another asyncio loop: close it on that one")

    def _core(self) -> ClientCore:
        shared = self._shared
        if shared.owner == get_ident() and shared.core is not None and shared.loop.is_running():
            return shared.core
        return self._bind()

    def _bind(self) -> ClientCore:
        """Bind the client to the running loop at first use. Raises RuntimeError for misuse."""
        self._check_usable()
        shared = self._shared
        if shared.core is not None:
            raise RuntimeError(
                "this client belongs to another asyncio loop: connect again on this one"
            )
        try:
            running = asyncio.get_running_loop()
        except RuntimeError:
            raise RuntimeError(
                "the asyncio client needs a running asyncio loop: use it in a coroutine, or use "
                "ringback.connect"
            ) from None
        shared.loop = running
        return self._make_core(AsyncioLoop(running=running))


@takes(ConnectOptions)
def connect(*endpoints: str, **options: Unpack[ConnectOptions]) -> AsyncioClient:
    """Make an asyncio client. It binds to the running loop at first use."""
    return AsyncioClient(*endpoints, **options)
