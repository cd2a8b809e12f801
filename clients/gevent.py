"""The gevent client: `call` waits in its greenlet, `fire` returns an AsyncResult.
One greenlet runs the callbacks."""

from __future__ import annotations

import signal
import weakref
from collections.abc import Callable, Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, Self, Unpack, cast, overload

import gevent
from gevent.event import AsyncResult
from gevent.queue import SimpleQueue

from .. import errors
from ..backends.gevent.client import GeventClientLoop
from ..backends.native import get_ident
from ..options.signatures import takes
from ..protocol.messages import Call
from ..runtime import forks
from .blocking import BlockingClient
from .callbacks.running import run_callback
from .callbacks.unseen import unseen
from .calls.fired import FiredCall
from .calls.results import R, T
from .connections.core import ClientCore
from .conversation.calls import CallSettings
from .options import ConnectOptions, UntypedOptions, ViewOptions
from .shared import give_up


class FiredFuture(AsyncResult, Generic[R]):  # type: ignore[misc] # gevent has no annotations
    """The outcome of a fired call; cancelling it cancels the call."""

    _observed = True  # while __init__ has not set it

    def __init__(self, call: _Fired) -> None:
        super().__init__()
        self._call = call
        self._observed = False

    def cancel(self) -> bool:
        shared = self._call.client._shared
        core = shared.core
        assert core is not None
        self._observed = True  # the caller knows the outcome
        error = errors.Cancelled(f"{self._call.method} was cancelled by its caller")
        return bool(core.loop.turn(core.cancel, self._call, error))

    def get(self, block: bool = True, timeout: float | None = None) -> R:
        self._observed = True
        if self._call.client._shared.generation != forks.generation and not self.ready():
            raise errors.Cancelled(
                f"{self._call.method} was called before a fork: only the parent gets its reply"
            )
        result: R = super().get(block, timeout)
        return result

    def wait(self, timeout: float | None = None) -> Any:
        self._observed = True
        return super().wait(timeout)

    def __del__(self) -> None:
        if not self._observed and self.exception is not None:
            unseen(self._call.method, self.exception)


class _Fired(FiredCall):
    __slots__ = ("future",)

    def __init__(
        self, message: Call, settings: CallSettings, deadline: float | None = None
    ) -> None:
        super().__init__(message, settings, deadline)
        self.future: FiredFuture[Any] | None = FiredFuture(self)

    def observe(self) -> None:
        if self.future is not None:
            self.future._observed = True

    def finish(self, result: Any, error: BaseException | None) -> None:
        future = self.future
        if future is None:
            return
        if future.ready():  # an earlier `finish` was cut half-way
            result, error = future.value, future.exception
        elif error is None:
            future.set(result)
        else:
            future.set_exception(error)
        client: Any = self.client
        function: Any = self.callback if error is None else self.errback
        if function is not None:
            client._callbacks.post(self.method, function, result if error is None else error)
        if client._shared.listeners:
            client._callbacks.post(
                self.method, lambda _: client._tell_listeners(self, result, error), None
            )
        self.future = None  # the two must not keep each other alive

    @property
    def told(self) -> bool:
        return self.future is None


class GeventClient(BlockingClient[FiredFuture[R], R], Generic[R]):
    """A client for the greenlets of one hub: that of the thread of its first use.

    At the bound of calls in flight, `call` and `fire` wait; inside a callback, `fire` fails with
    ResourceExhausted.
    """

    future = "ringback.clients.gevent:FiredFuture"
    _fired_kind = _Fired

    if TYPE_CHECKING:

        @overload  # type: ignore[override]
        def options(self, **changes: Unpack[UntypedOptions]) -> Self: ...
        @overload
        def options(
            self, *, returns: type[T], **changes: Unpack[UntypedOptions]
        ) -> GeventClient[T]: ...
        @overload
        def options(
            self, *, returns: Any, **changes: Unpack[UntypedOptions]
        ) -> GeventClient[Any]: ...
        def options(self, **changes: Unpack[ViewOptions]) -> Any: ...

    def __init__(self, *endpoints: str, **options: Unpack[ConnectOptions]) -> None:
        super().__init__(*endpoints, **options)
        self._callbacks = _Callbacks()

    @classmethod
    def run_program(cls, main: Coroutine[Any, Any, None]) -> None:
        # Ctrl-C is raised in this greenlet, and not in the middle of the hub's work.
        gevent.signal_handler(signal.SIGINT, gevent.getcurrent().throw, KeyboardInterrupt)
        super().run_program(main)

    def _fire(
        self, core: ClientCore, call: _Fired, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> FiredFuture[R]:
        future = call.future
        assert future is not None
        if call.failure is None:
            core.loop.turn(self._start, core, call, args, kwargs)
        else:
            call.finish(None, call.failure)
        return future

    def _outcome(self, future: FiredFuture[R]) -> tuple[Any, BaseException | None]:
        future.wait()
        return future.value, future.exception

    def _in_callback(self) -> bool:
        return self._callbacks.greenlet is gevent.getcurrent()

    def _end_callbacks(self, seconds: float) -> None:
        self._callbacks.close(seconds)

    def _drop(self, core: ClientCore) -> None:
        core.when_closed = self._callbacks.end
        super()._drop(core)

    def _core(self) -> tuple[ClientCore, GeventClientLoop]:
        self._check_usable()
        core = self._shared.core
        if core is not None:
            if self._shared.owner != get_ident():
                raise RuntimeError(
                    "this client belongs to the hub of another thread: connect again in this one"
                )
            loop = cast(GeventClientLoop, core.loop)
            if loop.whole:
                return core, loop
            loop.mend()
        loop = GeventClientLoop()
        loop.cut = partial(give_up, weakref.ref(self._shared), weakref.ref(loop))
        return self._make_core(loop), loop

    def _post_state(self, listener: Callable[[str], object], state: str) -> None:
        self._callbacks.post("on_state", listener, state)


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
        """End the greenlet after the last callback, and wait for that at most `timeout` seconds."""
        self.end()
        if self.greenlet is not None and self.greenlet is not gevent.getcurrent():
            self.greenlet.join(timeout)

    def end(self) -> None:
        """End the greenlet after the last callback, without waiting."""
        if self.greenlet is not None:
            self._queue.put(None)

    def _run(self) -> None:
        while (entry := self._queue.get()) is not None:
            run_callback(*entry)
            del entry  # the next wait may be long


@takes(ConnectOptions)
def connect(*endpoints: str, **options: Unpack[ConnectOptions]) -> GeventClient:
    """Make a client for greenlets. It binds to the hub of the thread of its first use."""
    return GeventClient(*endpoints, **options)
