"""The gevent client: `call` waits in its greenlet, `fire` returns an AsyncResult, callbacks run in a greenlet of their own."""

from __future__ import annotations

import atexit
import weakref
from collections.abc import Callable
from contextvars import Context
from functools import partial
from types import TracebackType
from typing import Any, Self

import gevent
from gevent.event import AsyncResult, Event
from gevent.queue import SimpleQueue

from .. import errors, forks
from ..backends.gevent import GeventClientLoop, GreenletGate
from ..backends.native import get_ident
from ..protocol.calls import OutgoingCall
from ..protocol.streams import WINDOW
from .base import Answer, Callback, Client, Errback, give_up, in_context, run_callback
from .core import ClientCore, open_cores
from .options import seconds_to_close
from .streams import Stream, StreamCall
from .unseen import unseen
from .uploads import SyncUpload


class _Call(OutgoingCall):
    __slots__ = ("outcome",)
    outcome: Any

    def finish(self, result: Any, error: BaseException | None) -> None:
        if error is None:
            self.outcome.set(result)
        else:
            self.outcome.set_exception(error)


class FiredResult(AsyncResult):  # type: ignore[misc] # gevent has no annotations
    """The outcome of a fired call; cancelling it cancels the call."""

    _observed = True  # until it is one

    def __init__(self, client: GeventClient, call: _Fired) -> None:
        super().__init__()
        self._client = client
        self._call = call
        self._observed = False

    def cancel(self) -> bool:
        core = self._client._shared.core
        assert core is not None
        self._observed = True  # whoever cancels it knows how it ends
        error = errors.Cancelled(f"{self._call.method} was cancelled by its caller")
        return bool(core.loop.turn(core.cancel, self._call, error))

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        self._observed = True
        if self._client._shared.generation != forks.generation and not self.ready():
            raise errors.Cancelled(
                f"{self._call.method} was called before a fork: only the parent gets its answer"
            )
        return super().get(block, timeout)

    def wait(self, timeout: float | None = None) -> Any:
        self._observed = True
        return super().wait(timeout)

    def __del__(self) -> None:
        if not self._observed and self.exception is not None:
            unseen(self._call.method, self.exception)


class _Fired(_Call):
    __slots__ = ("callback", "client", "errback")
    client: GeventClient
    callback: Callback | None
    errback: Errback | None

    def finish(self, result: Any, error: BaseException | None) -> None:
        super().finish(result, error)
        self.outcome = None  # the two must not keep each other alive
        client = self.client
        function: Any = self.callback if error is None else self.errback
        if function is not None:
            client._post(self.method, function, result if error is None else error)
        if client._shared.listeners:
            client._post(self.method, lambda _: client._tell_listeners(self, result, error), None)


class GeventClient(Client):
    """Calls a service from the greenlets of one hub, that of the thread of its first use.

    At the bound of calls in flight `call` and `fire` wait; inside a callback `fire` fails with ResourceExhausted instead.
    """

    def __init__(self, *endpoints: str, **options: Any) -> None:
        super().__init__(*endpoints, **options)
        self._callbacks = _Callbacks()
        _open.add(self)

    def call(self, method: str, /, *args: Any, **kwargs: Any) -> Any:
        """The result. Raises the classes of `ringback.errors`."""
        core = self._core()
        call = self._outgoing(_Call, method, args, kwargs)
        while core.full:
            self._wait_for_room(core, self._time_for_room(call))
        outcome = call.outcome = AsyncResult()
        try:
            core.loop.turn(self._start, core, call, args, kwargs)
            outcome.wait()
            if outcome.exception is not None:
                raise outcome.exception
            return outcome.value
        except BaseException:  # a kill, a Timeout, a signal's handler
            self._interrupted(core, call)
            raise
        finally:
            # The error's traceback has this frame: together they would wait for the garbage collector.
            del call, outcome

    def _interrupted(self, core: ClientCore, call: OutgoingCall) -> None:
        if call.id and not call.ended:
            core.loop.turn(core.cancel, call, errors.Cancelled(f"{call.method} was interrupted"))

    def fire(
        self,
        method: str,
        /,
        *args: Any,
        callback: Callback | None = None,
        errback: Errback | None = None,
        **kwargs: Any,
    ) -> FiredResult:
        """Send the call and go on. `callback(result)` or `errback(error)` runs in the callback greenlet, exactly once, in the
        order of the replies."""
        core = self._core()
        failure: errors.CallError | None = None
        try:
            call = self._outgoing(_Fired, method, args, kwargs)
        except errors.CallError as error:
            failure = error
            call = self._unsent(_Fired, method)
        if failure is None and core.full:
            if self._callbacks.greenlet is gevent.getcurrent():
                failure = errors.ResourceExhausted(f"{method}: {core.bound}")
            while failure is None and core.full:
                self.ready()
        call.client = self
        call.callback, call.errback = in_context(callback), in_context(errback)
        future = call.outcome = FiredResult(self, call)
        future._observed = errback is not None
        if failure is not None:
            call.finish(None, failure)
            return future
        try:
            core.loop.turn(self._start, core, call, args, kwargs)
        except BaseException:
            future._observed = True
            self._interrupted(core, call)
            raise
        return future

    def call_all(self, method: str, /, *args: Any, **kwargs: Any) -> list[Answer]:
        """What each server that is known answers, as a list of `Answer`: a result, or the error. Nothing is sent twice."""
        self.call("ringback.ping")  # there may be servers to be found, and links to be opened, first
        endpoints, futures = self._fan_out(method, args, kwargs)
        for future in futures:
            future._observed = True
            future.wait()
        return [
            Answer(endpoint, future.value, future.exception)
            for endpoint, future in zip(endpoints, futures, strict=True)
        ]

    def notify(self, method: str, /, *args: Any, **kwargs: Any) -> None:
        """Send a call that is never answered."""
        core = self._core()
        core.loop.turn(core.notify, self._note(method, args, kwargs))

    def stream(self, method: str, /, *args: Any, **kwargs: Any) -> Stream:
        """The items, as an iterator; leaving it early (`close`, `with`) cancels the call."""
        core = self._core()
        call = self._outgoing(StreamCall, method, args, kwargs, credit=WINDOW)
        stream = Stream(core, call, GreenletGate())
        try:
            core.loop.turn(self._start, core, call, args, kwargs)
        except BaseException:
            self._interrupted(core, call)
            raise
        return stream

    def ready(self) -> None:
        """Wait until there is room below the bound of calls in flight."""
        self._wait_for_room(self._core(), None)

    def _wait_for_room(self, core: ClientCore, seconds: float | None) -> None:
        room = Event()
        core.loop.turn(core.when_room, room.set, seconds)
        room.wait()

    def close(self, timeout: float | None = 30.0, *, now: bool = False) -> None:
        """Wait for what is in flight, at most `timeout` seconds (not at all with `now=True`), end the rest with Cancelled."""
        self._check_closable()
        seconds = seconds_to_close(timeout)
        self._shared.close()
        core = self._shared.core
        if core is not None and not core.closed:
            if not now:
                idle = Event()
                core.loop.turn(core.when_idle, idle.set)
                idle.wait(seconds)
            core.loop.turn(core.close, "the client was closed")
            self._callbacks.close(1.0 if now else seconds)
        _open.discard(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _drop(self, core: ClientCore) -> None:
        core.when_closed = self._callbacks.end
        super()._drop(core)

    def _core(self) -> ClientCore:
        self._check_usable()
        core = self._shared.core
        if core is not None:
            if self._shared.owner != get_ident():
                raise RuntimeError(
                    "this client belongs to the hub of another thread: connect again in this one"
                )
            if core.loop.whole:
                return core
            core.loop.mend()
        loop = GeventClientLoop()
        loop.cut = partial(give_up, weakref.ref(self._shared), weakref.ref(loop))
        return self._make_core(loop)

    def _upload(self, call: OutgoingCall, iterator: Any) -> SyncUpload:
        assert self._shared.core is not None
        return SyncUpload(self._shared.core, call, iterator, GreenletGate(), _spawn)

    def _post_state(self, listener: Callable[[str], object], state: str) -> None:
        self._post("on_state", listener, state)

    def _post(self, method: str, function: Any, argument: Any) -> None:
        self._callbacks.post(method, function, argument)


class _Callbacks:
    """The greenlet that runs a client's callbacks, one at a time."""

    def __init__(self) -> None:
        self.greenlet: Any = None
        self._queue: Any = None

    def post(self, method: str, function: Any, argument: Any) -> None:
        if self.greenlet is None:
            self._queue = SimpleQueue()
            self.greenlet = gevent.spawn(self._run)
        self._queue.put((method, function, argument))

    def close(self, timeout: float) -> None:
        """Let it end after the last callback, if that ends in time."""
        self.end()
        if self.greenlet is not None and self.greenlet is not gevent.getcurrent():
            self.greenlet.join(timeout)

    def end(self) -> None:
        """Let it end after the last callback, without waiting."""
        if self.greenlet is not None:
            self._queue.put(None)

    def _run(self) -> None:
        while (entry := self._queue.get()) is not None:
            run_callback(*entry)
            del entry  # the next wait may be long


def _spawn(context: Context, work: Callable[[], object]) -> Callable[[], object]:
    return partial(context.run(gevent.spawn, work).kill, block=False)


_open: weakref.WeakSet[GeventClient] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    """What is in flight when the interpreter ends is waited for, as `close` does; but for streams, which nobody will read."""
    for core in open_cores(GeventClientLoop):
        if core.loop.loop is gevent.get_hub():  # type: ignore[attr-defined]
            core.loop.turn(core.cancel_streams)
    for client in list(_open):
        if client._shared.core is None or not client._shared.core.loop.closed:
            client.close()
    for core in open_cores(GeventClientLoop):  # of clients that were dropped
        if core.loop.loop is gevent.get_hub():  # type: ignore[attr-defined]
            idle = Event()
            core.loop.turn(core.when_idle, idle.set)
            idle.wait(30.0)


def connect(*endpoints: str, **options: Any) -> GeventClient:
    """A client for greenlets; it binds to the hub of the thread of its first use. The options are those of `Client`."""
    return GeventClient(*endpoints, **options)
