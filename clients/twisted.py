"""The Twisted client: `call` and `fire` return Deferreds, callbacks run on the reactor."""

from __future__ import annotations

import signal
from collections.abc import Coroutine, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Generic, Self, Unpack, overload

from twisted.internet.defer import DebugInfo, Deferred, DeferredList, ensureDeferred
from twisted.python.threadable import isInIOThread

from .. import errors
from ..backends.twisted.loop import TwistedLoop
from ..options.signatures import takes
from .awaiting import AwaitingClient
from .callbacks.running import run_callback
from .callbacks.unseen import unseen
from .calls.fired import FiredCall
from .calls.maps import Row, rows_of
from .calls.results import R, T
from .connections.core import LAST_CALLS, ClientCore
from .conversation.calls import ENDED, OutgoingCall
from .options import ConnectOptions, UntypedOptions, ViewOptions
from .shared import Shared

if TYPE_CHECKING:
    from .base import Answer


class _Call(OutgoingCall):
    __slots__ = ("future",)
    future: Deferred[Any] | None

    def finish(self, result: Any, error: BaseException | None) -> None:
        future, self.future = self.future, None
        _settle(future, result, error)


class _Fired(FiredCall):
    __slots__ = ("future",)
    future: Deferred[Any] | None

    def disown(self, error: BaseException) -> None:
        self.state = ENDED
        future, self.future = self.future, None
        _settle(future, None, error)
        _observe(future)

    def finish(self, result: Any, error: BaseException | None) -> None:
        future, self.future = self.future, None
        if error is None:
            if self.callback is not None:
                run_callback(self.method, self.callback, result)
        elif self.errback is not None:
            run_callback(self.method, self.errback, error)
        self.client._tell_listeners(self, result, error)
        if error is not None and future is not None and future._debugInfo is None:
            future._debugInfo = _Unseen(self.method)
        _settle(future, result, error)
        if error is not None and self.errback is not None:
            _observe(future)  # the errback has received the error


def _settle(future: Deferred[Any] | None, result: Any, error: BaseException | None) -> None:
    if future is not None and not future.called:
        if error is None:
            future.callback(result)
        else:
            future.errback(error)


class _Unseen(DebugInfo):
    """Debug info of a failed Deferred: reports an error that no errback handles.
    Twisted's own logs each one."""

    def __init__(self, method: str) -> None:
        self._method = method

    def __del__(self) -> None:
        if self.failResult is not None and self.failResult.value is not None:
            unseen(self._method, self.failResult.value)


class _Seen(DebugInfo):
    """Debug info of a cancelled Deferred: the caller expects its error, so it is not logged."""

    def __del__(self) -> None:
        pass


class TwistedClient(AwaitingClient[Deferred[R], R], Generic[R]):
    """A client for the reactor's thread.

    At the bound of calls in flight, `call` waits and `fire` fails with ResourceExhausted; pace it
    with the Deferred of `client.ready()`.
    """

    answers = "defers"
    future = "twisted.internet.defer:Deferred"
    _fired_kind = _Fired

    if TYPE_CHECKING:

        @overload  # type: ignore[override]
        def options(self, **changes: Unpack[UntypedOptions]) -> Self: ...
        @overload
        def options(
            self, *, returns: type[T], **changes: Unpack[UntypedOptions]
        ) -> TwistedClient[T]: ...
        @overload
        def options(
            self, *, returns: Any, **changes: Unpack[UntypedOptions]
        ) -> TwistedClient[Any]: ...
        def options(self, **changes: Unpack[ViewOptions]) -> Any: ...

        def call_all(self, method: str, /, *args: Any, **kwargs: Any) -> Deferred[list[Answer]]: ...

        def ready(self) -> Deferred[None]: ...

        def close(self, timeout: float | None = 30.0, *, now: bool = False) -> Deferred[None]: ...

    @classmethod
    def run_program(cls, main: Coroutine[Any, Any, None]) -> None:
        from twisted.internet import reactor as installed

        reactor: Any = installed
        failures: list[BaseException] = []

        async def whole() -> None:
            try:
                await main
            except BaseException as error:
                failures.append(error)
            finally:
                reactor.stop()

        def begin() -> None:
            running = ensureDeferred(whole())

            def interrupt() -> None:
                failures.append(KeyboardInterrupt())
                running.cancel()

            signal.signal(signal.SIGINT, lambda *_: reactor.callFromThread(interrupt))

        reactor.callWhenRunning(begin)
        reactor.run(installSignalHandlers=False)
        if failures:
            raise failures[0]

    def map(
        self, method: str, /, *iterables: Iterable[Any], chunksize: int = 1000
    ) -> Deferred[list[R]]:
        """Call the method for each row of arguments; returns a Deferred of the results, in order.
        One message carries `chunksize` calls, with the timeout of one call. The Deferred fails with
        the error of the first failed call, which cancels the rest."""
        rows = rows_of(iterables, chunksize)
        return ensureDeferred(self._map_all(method, rows, chunksize))

    async def _map_all(self, method: str, rows: Iterator[Row], chunksize: int) -> list[R]:
        return [result async for result in self._map(method, rows, chunksize)]

    def call(self, method: str, /, *args: Any, **kwargs: Any) -> Deferred[R]:
        """Call a method; returns a Deferred of its result. Cancelling it cancels the call.
        The Deferred fails with the classes of `ringback.errors`."""
        core = self._core()
        try:
            call = self._outgoing(_Call, method, args, kwargs)
        except errors.CallError as error:
            return _failed(error)
        if core.full:
            return ensureDeferred(self._call_at_bound(core, call, args, kwargs))
        return self._send(core, call, args, kwargs)

    async def _call_at_bound(
        self, core: ClientCore, call: _Call, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        while core.full:
            await self._wait_for_room(core, self._time_for_room(call))
        return await self._send(core, call, args, kwargs)

    def _send(
        self, core: ClientCore, call: _Call, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Deferred[Any]:
        future = self._future(core, call)
        self._start(core, call, args, kwargs)
        return future

    def _future(self, core: ClientCore, call: _Call | _Fired) -> Deferred[Any]:
        def cancel(future: Deferred[Any]) -> None:
            call.future = None  # the Deferred fails by itself, with Twisted's CancelledError
            if type(call) is _Fired and future._debugInfo is None:
                future._debugInfo = _Seen()  # the caller knows the outcome
            core.cancel(call, errors.Cancelled(f"{call.method} was cancelled by its caller"))

        future = call.future = Deferred(cancel)
        return future

    async def _outcomes(self, futures: list[Deferred[Any]]) -> list[Any]:
        outcomes = await DeferredList(futures, consumeErrors=True)
        return [outcome if well else outcome.value for well, outcome in outcomes]

    def _awaitable(self, coroutine: Coroutine[Any, Any, Any]) -> Deferred[Any]:
        return ensureDeferred(coroutine)

    def _core(self) -> ClientCore:
        self._check_usable()
        core = self._shared.core
        if core is None:
            core = self._make_core(TwistedLoop())
            core.when_closed = _Shutdown(core.loop.loop, self._shared).cancel  # type: ignore[attr-defined]
        elif core.loop.loop.running and not isInIOThread():  # type: ignore[attr-defined, no-untyped-call]
            raise RuntimeError(
                "this client belongs to the reactor's thread: use reactor.callFromThread"
            )
        return core


class _Shutdown:
    """Closes the client at the reactor's shutdown, unless it is closed already.
    It waits for calls in flight, but not for streams: their readers are gone. It holds no reference
    to the client, which may be dropped."""

    def __init__(self, reactor: Any, shared: Shared) -> None:
        self._reactor = reactor
        self._shared = shared
        self._trigger = reactor.addSystemEventTrigger("before", "shutdown", self._begins)

    def cancel(self) -> None:
        if self._trigger is not None:
            self._reactor.removeSystemEventTrigger(self._trigger)

    def _begins(self) -> Deferred[None]:
        self._trigger = None
        ended: Deferred[None] = Deferred()
        core = self._shared.core
        assert core is not None  # the core made this
        self._shared.close()
        core.cancel_streams()
        core.finish("the client was closed", LAST_CALLS, lambda: ended.callback(None))
        return ended


def _observe(deferred: Deferred[Any] | None) -> None:
    """Mark the error as handled, so that Twisted does not log it.
    An awaiting caller still gets it."""
    if deferred is not None and deferred._debugInfo is not None:
        deferred._debugInfo.failResult = None


def _failed(error: errors.CallError) -> Deferred[Any]:
    deferred: Deferred[Any] = Deferred()
    deferred.errback(error)
    return deferred


@takes(ConnectOptions)
def connect(*endpoints: str, **options: Unpack[ConnectOptions]) -> TwistedClient:
    """Make a client for the reactor. It connects at first use."""
    return TwistedClient(*endpoints, **options)
