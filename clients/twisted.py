"""The Twisted client: `call` and `fire` return Deferreds, callbacks run on the reactor."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Context
from types import TracebackType
from typing import Any, Self

from twisted.internet.defer import DebugInfo, Deferred, DeferredList, ensureDeferred, succeed
from twisted.python.threadable import isInIOThread

from .. import errors
from ..backends.twisted import DeferredGate, TwistedLoop
from ..protocol.calls import OutgoingCall
from ..protocol.streams import WINDOW
from .base import Answer, Callback, Client, Errback, Shared, in_context, run_callback
from .core import ClientCore
from .options import seconds_to_close
from .streams import AsyncStream, StreamCall
from .unseen import unseen
from .uploads import AsyncUpload


class _Call(OutgoingCall):
    __slots__ = ("deferred",)
    deferred: Deferred[Any] | None

    def finish(self, result: Any, error: BaseException | None) -> None:
        deferred, self.deferred = self.deferred, None
        if deferred is not None and not deferred.called:
            if error is None:
                deferred.callback(result)
            else:
                deferred.errback(error)


class _Fired(_Call):
    __slots__ = ("callback", "client", "errback")
    client: TwistedClient
    callback: Callback | None
    errback: Errback | None

    def disown(self, error: BaseException) -> None:
        deferred = self.deferred
        super().finish(None, error)
        _observe(deferred)

    def finish(self, result: Any, error: BaseException | None) -> None:
        deferred = self.deferred
        if error is None:
            if self.callback is not None:
                run_callback(self.method, self.callback, result)
        elif self.errback is not None:
            run_callback(self.method, self.errback, error)
        self.client._tell_listeners(self, result, error)
        if error is not None and deferred is not None and deferred._debugInfo is None:
            deferred._debugInfo = _Unseen(self.method)
        super().finish(result, error)
        if error is not None and self.errback is not None:
            _observe(deferred)  # as the errback has


class _Unseen(DebugInfo):
    """What a Deferred has that failed: it says so where nobody handles that. Twisted's own would log each."""

    def __init__(self, method: str) -> None:
        self._method = method

    def __del__(self) -> None:
        if self.failResult is not None and self.failResult.value is not None:
            unseen(self._method, self.failResult.value)


class _Seen(DebugInfo):
    """What a Deferred has whose error is nobody's surprise."""

    def __del__(self) -> None:
        pass


class TwistedClient(Client):
    """Calls a service from the reactor's thread.

    At the bound of calls in flight `call` waits, and `fire` fails with ResourceExhausted: the Deferred of `client.ready()` paces it.
    """

    def call(self, method: str, /, *args: Any, **kwargs: Any) -> Deferred[Any]:
        """A Deferred of the result; it fails with the classes of `ringback.errors`. Cancelling it cancels the call."""
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
            await self._room(core, self._time_for_room(call))
        return await self._send(core, call, args, kwargs)

    def fire(
        self,
        method: str,
        /,
        *args: Any,
        callback: Callback | None = None,
        errback: Errback | None = None,
        **kwargs: Any,
    ) -> Deferred[Any]:
        """Send the call and go on. `callback(result)` or `errback(error)` runs on the reactor, exactly once."""
        core = self._core()
        failure: errors.CallError | None = None
        try:
            call = self._outgoing(_Fired, method, args, kwargs)
            if core.full:
                raise errors.ResourceExhausted(f"{method}: {core.bound}")
        except errors.CallError as error:
            failure = error
            call = self._unsent(_Fired, method)
        call.client = self
        call.callback, call.errback = in_context(callback), in_context(errback)
        if failure is None:
            return self._send(core, call, args, kwargs)
        deferred = call.deferred = Deferred()
        core.loop.call_soon(call.finish, None, failure)
        return deferred

    def call_all(self, method: str, /, *args: Any, **kwargs: Any) -> Deferred[list[Answer]]:
        """A Deferred of what each server that is known answers, as a list of `Answer`: a result, or the error. Nothing is sent twice."""
        return ensureDeferred(self._call_all(method, args, kwargs))

    async def _call_all(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Answer]:
        await self.call("ringback.ping")  # there may be servers to be found, and links to be opened, first
        endpoints, futures = self._fan_out(method, args, kwargs)
        outcomes = await DeferredList(futures, consumeErrors=True)
        return [
            Answer(endpoint, outcome, None) if well else Answer(endpoint, None, outcome.value)
            for endpoint, (well, outcome) in zip(endpoints, outcomes, strict=True)
        ]

    def notify(self, method: str, /, *args: Any, **kwargs: Any) -> None:
        """Send a call that is never answered."""
        self._core().notify(self._note(method, args, kwargs))

    def stream(self, method: str, /, *args: Any, **kwargs: Any) -> AsyncStream:
        """The items, as an async iterator for coroutines on Deferreds; leaving it early (`aclose`, `async with`)
        cancels the call."""
        core = self._core()
        call = self._outgoing(StreamCall, method, args, kwargs, credit=WINDOW)
        stream = AsyncStream(core, call, DeferredGate())
        self._start(core, call, args, kwargs)
        return stream

    def ready(self) -> Deferred[None]:
        """Fires when there is room below the bound of calls in flight."""
        return self._room(self._core(), None)

    def _room(self, core: ClientCore, seconds: float | None) -> Deferred[None]:
        room: Deferred[None] = Deferred()
        core.when_room(lambda: room.callback(None), seconds)
        return room

    def close(self, timeout: float | None = 30.0, *, now: bool = False) -> Deferred[None]:
        """Wait for what is in flight, at most `timeout` seconds (not at all with `now=True`), end the rest with Cancelled. The
        Deferred fires when all has ended."""
        self._check_closable()
        return _close(self._shared, seconds_to_close(timeout), now=now)

    async def __aenter__(self) -> Self:
        self._core()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _send(
        self, core: ClientCore, call: _Call, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Deferred[Any]:
        def cancel(deferred: Deferred[Any]) -> None:
            call.deferred = None  # it cancels itself, with Twisted's own CancelledError
            if type(call) is _Fired and deferred._debugInfo is None:
                deferred._debugInfo = _Seen()  # whoever cancels it knows how it ends
            core.cancel(call, errors.Cancelled(f"{call.method} was cancelled by its caller"))

        deferred = call.deferred = Deferred(cancel)
        self._start(core, call, args, kwargs)
        return deferred

    def _upload(self, call: OutgoingCall, iterator: Any) -> AsyncUpload:
        assert self._shared.core is not None
        return AsyncUpload(self._shared.core, call, iterator, DeferredGate(), _spawn)

    def _core(self) -> ClientCore:
        self._check_usable()
        core = self._shared.core
        if core is None:
            core = self._make_core(TwistedLoop())
            core.when_closed = _Shutdown(core.loop.loop, self._shared).cancel  # type: ignore[attr-defined]
        elif core.loop.loop.running and not isInIOThread():  # type: ignore[attr-defined, no-untyped-call]
            raise RuntimeError("this client belongs to the reactor's thread: use reactor.callFromThread")
        return core


def _close(shared: Shared, timeout: float = 30.0, *, now: bool = False) -> Deferred[None]:
    shared.close()
    core = shared.core
    if core is None or core.closed:
        return succeed(None)
    idle: Deferred[None] = Deferred()

    def end() -> None:
        timer.cancel()
        core.close("the client was closed")
        if not idle.called:  # nor cancelled
            idle.callback(None)

    timer = core.loop.call_later(0 if now else timeout, end)
    if now:
        end()
    else:
        core.when_idle(end)
    return idle


class _Shutdown:
    """The end of the reactor closes the client, if nothing has before; but for streams, which nobody will read, it waits for what is in
    flight. It does not hold the client, which may be dropped."""

    def __init__(self, reactor: Any, shared: Shared) -> None:
        self._reactor = reactor
        self._shared = shared
        self._trigger = reactor.addSystemEventTrigger("before", "shutdown", self._begins)

    def cancel(self) -> None:
        if self._trigger is not None:
            self._reactor.removeSystemEventTrigger(self._trigger)

    def _begins(self) -> Deferred[None]:
        self._trigger = None
        if self._shared.core is not None:
            self._shared.core.cancel_streams()
        return _close(self._shared)


def _spawn(context: Context, work: Callable[[], Any]) -> Callable[[], object]:
    return context.run(lambda: ensureDeferred(work())).cancel


def _observe(deferred: Deferred[Any] | None) -> None:
    """Its error is known: who awaits it gets it, and if nobody does, Twisted need not log it."""
    if deferred is not None and deferred._debugInfo is not None:
        deferred._debugInfo.failResult = None


def _failed(error: errors.CallError) -> Deferred[Any]:
    deferred: Deferred[Any] = Deferred()
    deferred.errback(error)
    return deferred


def connect(*endpoints: str, **options: Any) -> TwistedClient:
    """A client on the reactor; it connects at first use. The options are those of `Client`."""
    return TwistedClient(*endpoints, **options)
