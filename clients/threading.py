"""The blocking client: for any number of threads at once. The thread that waits for an answer is the one that reads it.

A thread of the client's own reads only while fired calls are in flight and nobody waits; another runs the callbacks. All that
touches the core holds the loop's lock.
"""

from __future__ import annotations

import atexit
import concurrent.futures
import logging
import sys
import threading
import time
import warnings
import weakref
from collections.abc import Callable
from concurrent.futures._base import FINISHED, PENDING
from queue import SimpleQueue
from types import TracebackType
from typing import Any, Self

from .. import errors
from ..backends.threading import ThreadingLoop, Waiter
from ..protocol.client import OutgoingCall
from .base import Callback, Client, Errback, run_callback
from .core import ClientCore
from .streams import WINDOW, StreamCall, SyncItems

log = logging.getLogger("ringback.client")

# Seconds after which an idle client looks at its connections.
IDLE_LOOK = 30.0


class _Call(OutgoingCall):
    """A call whose caller waits."""

    __slots__ = ("error", "result", "waiter")
    waiter: Waiter

    def finish(self, result: Any, error: BaseException | None) -> None:
        self.result = result
        self.error = error
        self.waiter.finish()


class CallFuture(concurrent.futures.Future[Any]):
    """The outcome of a fired call. Cancelling it cancels the call; its done-callbacks run where callbacks run.

    Most fired calls are never waited for, and the condition to wait on is a third of what their call costs: it is made by the first
    who asks for it.
    """

    _observed = False

    def __init__(self, client: ThreadingClient, call: _Fired) -> None:
        # In place of Future.__init__: the same attributes, but for `_condition`.
        self._state = PENDING
        self._result = None
        self._exception = None
        self._waiters: list[Any] = []
        self._done_callbacks: list[Any] = []
        self._client = client
        self._call = call

    @property
    def _condition(self) -> threading.Condition:  # type: ignore[override]
        made: threading.Condition = self.__dict__.setdefault("_made", threading.Condition())  # atomic
        return made

    def settle(self, result: Any, error: BaseException | None) -> None:
        """`set_result` or `set_exception`, by the one thread that does; without the condition where nobody has asked for it."""
        self._result = result
        self._exception = error
        self._state = (
            FINISHED  # from here on whoever asks for the condition sees that there is nothing to wait for
        )
        if "_made" in self.__dict__:
            with self._condition:
                for waiter in self._waiters:
                    if error is None:
                        waiter.add_result(self)
                    else:
                        waiter.add_exception(self)
                self._condition.notify_all()
            self._invoke_callbacks()  # type: ignore[attr-defined]

    def cancel(self) -> bool:
        return self._client._cancel_fired(self._call) and super().cancel()

    def result(self, timeout: float | None = None) -> Any:
        self._observed = True
        return super().result(timeout)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        self._observed = True
        return super().exception(timeout)

    def add_done_callback(self, fn: Callable[[Any], object]) -> None:
        self._observed = True
        super().add_done_callback(lambda future: self._client._post(self._call.method, fn, future))

    def __del__(self) -> None:
        if self._exception is not None and not self._observed:
            log.error("%s failed, and nobody looked: %r", self._call.method, self._exception)


class _Fired(OutgoingCall):
    __slots__ = ("callback", "client", "errback", "future")
    client: ThreadingClient
    future: CallFuture | None
    callback: Callback | None
    errback: Errback | None

    def finish(self, result: Any, error: BaseException | None) -> None:
        self.client._fired_ended(self, result, error)


class ThreadingClient(Client):
    """Calls a service from threads, each waiting for its own answers.

    At the bound of calls in flight `call` and `fire` wait; inside a callback `fire` fails with ResourceExhausted instead.
    """

    def __init__(self, *endpoints: str, **options: Any) -> None:
        super().__init__(*endpoints, **options)
        self._own = _Own()
        _open.add(self)

    def call(self, method: str, /, *args: Any, **kwargs: Any) -> Any:
        """The result. Raises the classes of `ringback.errors`."""
        core, loop = self._enter()
        call = self._outgoing(_Call, method, args, kwargs)
        waiter = call.waiter = Waiter()
        with loop.lock:
            if full := len(core.calls) >= core.max_in_flight:
                pass
            elif self._shared.interceptors:
                self._start(core, call, args, kwargs)
                core.flush()
            else:
                core.start_now(call, time.monotonic())
                core.flush()
        try:
            if full:
                self._wait_for_room(core, loop, call, args, kwargs)
            loop.wait(waiter)
        except BaseException:
            with loop:
                core.cancel(call, errors.Cancelled(f"{method} was interrupted"))
            raise
        if call.error is not None:
            error, call.error = call.error, None
            raise error
        return call.result

    def fire(
        self,
        method: str,
        /,
        *args: Any,
        callback: Callback | None = None,
        errback: Errback | None = None,
        **kwargs: Any,
    ) -> CallFuture:
        """Send the call and go on. `callback(result)` or `errback(error)` runs on the client's callback thread, exactly
        once, in the order of the replies."""
        core, loop = self._enter()
        failure: errors.CallError | None = None
        try:
            call = self._outgoing(_Fired, method, args, kwargs)
        except errors.CallError as error:
            failure = error
            call = self._unsent(_Fired, method)
        call.client, call.callback, call.errback = self, callback, errback
        future = call.future = CallFuture(self, call)
        future._observed = errback is not None
        if failure is None and core.full:
            if self._own.in_callback():
                failure = errors.ResourceExhausted(
                    f"{method}: {core.max_in_flight} calls are in flight, the bound"
                )
            else:
                self.ready()
        own = self._own
        with loop.lock:
            own.fired += 1
            if failure is not None:
                call.finish(None, failure)
                return future
            self._start(core, call, args, kwargs)
            if not own.driving:
                loop.run_soon()  # the first of a burst; what follows gathers, and is sent when the reader wakes
        own.drive(loop)
        return future

    def notify(self, method: str, /, *args: Any, **kwargs: Any) -> None:
        """Send a call that is never answered."""
        core, loop = self._enter()
        note = self._note(method, args, kwargs)
        with loop:
            core.notify(note)
            unsent = not core.settled
            if unsent:
                self._own.fired += 1  # somebody must drive until it is sent
                core.when_settled(self._own.release_one)
        if unsent:
            self._own.drive(loop)

    def stream(self, method: str, /, *args: Any, **kwargs: Any) -> Stream:
        """The items, as an iterator; leaving it early (`close`, `with`) cancels the call."""
        core, loop = self._enter()
        call = self._outgoing(StreamCall, method, args, kwargs, credit=WINDOW)
        stream = Stream(core, loop, call)
        with loop:
            self._start(core, call, args, kwargs)
        return stream

    def ready(self) -> None:
        """Wait until there is room below the bound of calls in flight."""
        core, loop = self._enter()
        room = Waiter()
        with loop:
            core.when_room(room.finish)
        loop.wait(room)

    def close(self, timeout: float = 30.0, *, now: bool = False) -> None:
        """Wait for what is in flight, at most `timeout` seconds (not at all with `now=True`), end the rest with Cancelled."""
        self._check_closable()
        _open.discard(self)
        core, loop = self._shared.core, self._own.loop
        if self._shared.closed or core is None or loop is None:
            self._shared.close()
            return
        self._shared.close()
        if not now:
            idle = Waiter()
            with loop:
                core.when_idle(idle.finish)
                timer = loop.call_later(timeout, idle.finish)
            loop.wait(idle)
            timer.cancel()
        with loop:
            core.close("the client was closed")
        self._own.close(loop, 1.0 if now else timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if not getattr(self, "_is_view", True) and not self._shared.closed and self._shared.core is not None:
            warnings.warn(f"unclosed {self!r}", ResourceWarning, stacklevel=1, source=self)

    def _enter(self) -> tuple[ClientCore, ThreadingLoop]:
        self._check_usable()
        own = self._own
        own.calls += 1
        if own.calls & 15 == 1 and not own.warned and (problem := _event_loop_here()):
            own.warned = True
            warnings.warn(problem, RuntimeWarning, stacklevel=3)
        core = self._shared.core
        if core is None:
            with own.making:
                core = self._shared.core
                if core is None:
                    own.loop = ThreadingLoop()
                    with own.loop:
                        core = self._make_core(own.loop)
        assert own.loop is not None
        return core, own.loop

    def _wait_for_room(
        self,
        core: ClientCore,
        loop: ThreadingLoop,
        call: _Call,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        while True:
            self.ready()
            with loop:
                if not core.full:
                    self._start(core, call, args, kwargs)
                    return

    def _cancel_fired(self, call: _Fired) -> bool:
        core, loop = self._shared.core, self._own.loop
        assert core is not None
        assert loop is not None
        with loop:
            if call.ended:
                return False
            call.future = None  # the future cancels itself
            return core.cancel(call, errors.Cancelled(f"{call.method} was cancelled by its caller"))

    def _fired_ended(self, call: _Fired, result: Any, error: BaseException | None) -> None:
        """Settle the future, and hand the outcome to whoever is to be called. Under the lock."""
        own = self._own
        own.release_one()
        future, call.future = call.future, None  # the two must not keep each other alive
        if future is not None:
            future.settle(result, error)
        if error is None:
            if call.callback is not None:
                own.post(call.method, call.callback, result)
        else:
            if call.errback is not None:
                own.post(call.method, call.errback, error)
        if self._shared.listeners:
            own.post_outcome(self, call, result, error)

    def _post(self, method: str, function: Callable[[Any], object], argument: Any) -> None:
        self._own.post(method, function, argument)


class _Own:
    """The threads of one client, and what they share."""

    def __init__(self) -> None:
        self.loop: ThreadingLoop | None = None
        self.making = threading.Lock()
        self.warned = False
        self.calls = 0
        self.fired = 0  # calls that need a driver though nobody waits
        self._driver: threading.Thread | None = None
        self._drive = threading.Semaphore(0)
        self._rest = Waiter()
        self.driving = False
        self._callbacks: SimpleQueue[tuple[str, Callable[[Any], object], Any] | None] | None = None
        self._callback_thread: threading.Thread | None = None
        self._closed = False

    def drive(self, loop: ThreadingLoop) -> None:
        """See to it that somebody drives while fired calls are in flight."""
        with loop.lock:
            loop.interrupt()
            if self.driving or self._closed or not self.fired:
                return
            self.driving = True
            self._rest = Waiter()
            if self._driver is None:
                self._driver = threading.Thread(
                    target=self._run, args=(loop,), name="ringback-reader", daemon=True
                )
                self._driver.start()
        self._drive.release()

    def release_one(self) -> None:
        """One fired call has ended. Under the lock."""
        self.fired -= 1
        if not self.fired and self.driving:
            self._rest.finish()

    def post(self, method: str, function: Callable[[Any], object], argument: Any) -> None:
        """Have the callback thread call the function."""
        if self._callbacks is None:
            self._callbacks = SimpleQueue()
            self._callback_thread = threading.Thread(
                target=self._call_back, name="ringback-callbacks", daemon=True
            )
            self._callback_thread.start()
        self._callbacks.put((method, function, argument))

    def post_outcome(
        self, client: ThreadingClient, call: OutgoingCall, result: Any, error: BaseException | None
    ) -> None:
        self.post(call.method, lambda _: client._tell_listeners(call, result, error), None)

    def in_callback(self) -> bool:
        return self._callback_thread is threading.current_thread()

    def close(self, loop: ThreadingLoop, timeout: float) -> None:
        """End both threads, after the last callback if that ends in time."""
        with loop.lock:
            self._closed = True
            self._rest.finish()
        self._drive.release()
        if self._callbacks is not None:
            self._callbacks.put(None)
        for thread in (self._driver, self._callback_thread):
            if thread is not None and thread is not threading.current_thread():
                thread.join(timeout)
        loop.close()
        loop.close_descriptors()

    def _run(self, loop: ThreadingLoop) -> None:
        while True:
            if not self._drive.acquire(timeout=IDLE_LOOK):
                loop.look()
                continue
            if self._closed:
                return
            loop.wait(self._rest)
            with loop.lock:
                if (
                    self.fired and not self._closed
                ):  # fired again after the last one ended, before this thread noticed
                    self._rest = Waiter()
                    self._drive.release()
                else:
                    self.driving = False

    def _call_back(self) -> None:
        assert self._callbacks is not None
        while (entry := self._callbacks.get()) is not None:
            run_callback(*entry)


class Stream(SyncItems):
    """The items of one call, as they come. One thread at a time may take them."""

    def __init__(self, core: ClientCore, loop: ThreadingLoop, call: StreamCall) -> None:
        super().__init__(core, call)
        self.guard = self._loop = loop
        self._waiter = Waiter()

    def wait(self) -> None:
        with self._loop:
            waiter = self._waiter = Waiter()
            if self.items or self.over:
                return
        self._loop.wait(waiter)

    def wake(self) -> None:
        self._waiter.finish()


_open: weakref.WeakSet[ThreadingClient] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    """What is in flight when the interpreter ends is waited for, as `close` does."""
    for client in list(_open):
        client.close()


def _event_loop_here() -> str | None:
    """Why blocking here is a mistake, if it is one."""
    asyncio = sys.modules.get("asyncio")
    if asyncio is not None and asyncio._get_running_loop() is not None:
        return "the blocking client was called on a running asyncio loop, which stands still meanwhile: use ringback.clients.asyncio"
    threadable = sys.modules.get("twisted.python.threadable")
    if threadable is not None and threadable.isInIOThread() and threadable.ioThread is not None:
        reactor = sys.modules.get("twisted.internet.reactor")
        if reactor is not None and getattr(reactor, "running", False):
            return "the blocking client was called on the reactor's thread, which stands still meanwhile: use ringback.clients.twisted"
    return None


def connect(*endpoints: str, **options: Any) -> ThreadingClient:
    """A blocking client, safe to use from many threads; it connects at first use. The options are those of `Client`."""
    return ThreadingClient(*endpoints, **options)
