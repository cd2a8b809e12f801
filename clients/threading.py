"""The blocking client: for any number of threads at once. The thread that waits for an answer is the one that reads it.

A thread of the client's own reads only while fired calls are in flight and nobody waits; another runs the callbacks. All that
touches the core holds the loop's lock.
"""

from __future__ import annotations

import atexit
import sys
import threading
import time
import warnings
import weakref
from collections.abc import Callable
from contextvars import Context
from types import TracebackType
from typing import Any, Self, cast

from .. import errors, forks, hubs
from ..backends.native import get_ident
from ..backends.threading import DrivingGate, ThreadingLoop, Waiter
from ..protocol.calls import OutgoingCall
from ..protocol.streams import WINDOW
from .base import Answer, Callback, Client, Errback
from .core import ClientCore
from .futures import FiredCall
from .streams import Stream, StreamCall
from .threads import ClientThreads
from .uploads import SyncUpload

# Seconds after which a client first looks at its connections when it is used again: the server may have left meanwhile.
IDLE = 0.1


class _Call(OutgoingCall):
    """A call whose caller waits."""

    __slots__ = ("error", "result", "waiter")
    waiter: Waiter

    def finish(self, result: Any, error: BaseException | None) -> None:
        self.result = result
        self.error = error
        self.waiter.finish()


class ThreadingClient(Client):
    """Calls a service from threads, each waiting for its own answers.

    At the bound of calls in flight `call` and `fire` wait; inside a callback `fire` fails with ResourceExhausted instead.
    """

    def __init__(self, *endpoints: str, **options: Any) -> None:
        super().__init__(*endpoints, **options)
        _open.add(self)

    def call(self, method: str, /, *args: Any, **kwargs: Any) -> Any:
        """The result. Raises the classes of `ringback.errors`."""
        core, loop = self._enter()
        call = self._outgoing(_Call, method, args, kwargs)
        waiter = call.waiter = Waiter()
        try:
            while not self._started(core, loop, call, args, kwargs):
                self._wait_for_room(core, loop, self._time_for_room(call))
            loop.wait(waiter)
        except BaseException:
            with loop:
                if call.link is not None or not call.ended:
                    core.cancel(call, errors.Cancelled(f"{method} was interrupted"))
            raise
        if call.error is not None:
            error, call.error = call.error, None
            raise error
        return call.result

    def _started(
        self,
        core: ClientCore,
        loop: ThreadingLoop,
        call: _Call,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> bool:
        """Send the call, if the bound of calls in flight lets it."""
        with loop.lock:
            if core.full:
                return False
            if self._shared.interceptors or self._options.cache is not None:
                self._start(core, call, args, kwargs)
            else:
                core.start_now(call, time.monotonic())
            core.flush()
            loop.end_turn()
        return True

    def fire(
        self,
        method: str,
        /,
        *args: Any,
        callback: Callback | None = None,
        errback: Errback | None = None,
        **kwargs: Any,
    ) -> FiredCall:
        """Send the call and go on. `callback(result)` or `errback(error)` runs on the client's callback thread, exactly
        once, in the order of the replies."""
        core, loop = self._enter()
        shared, threads = self._shared, self._threads
        failure: errors.CallError | None = None
        try:
            call = self._outgoing(FiredCall, method, args, kwargs)
        except errors.CallError as error:
            failure = error
            call = self._unsent(FiredCall, method)
        call.client, call.callback, call.errback = self, callback, errback
        if errback is not None:
            call.observed = True
        while failure is None and core.full:
            if threads.in_callback():
                failure = errors.ResourceExhausted(f"{method}: {core.bound}")
            else:
                call.message.timeout = None  # to be reckoned anew when it is sent
                self.ready()
        with loop.lock:
            threads.fired += 1
            try:
                if failure is not None:
                    call.finish(None, failure)
                elif shared.interceptors or self._options.cache is not None:
                    self._start(core, call, args, kwargs)
                else:
                    core.start(call, time.monotonic())
            except BaseException:
                if not call.ended:
                    threads.release_one()
                raise
            if threads.posted or not threads.driving:
                threads.drive()
            else:
                loop.interrupt()
        return call

    def call_all(self, method: str, /, *args: Any, **kwargs: Any) -> list[Answer]:
        """What each server that is known answers, as a list of `Answer`: a result, or the error. Nothing is sent twice."""
        self.call("ringback.ping")  # there may be servers to be found, and links to be opened, first
        endpoints, futures = self._fan_out(method, args, kwargs)
        outcomes = [
            (None, error) if (error := future.exception()) else (future.result(), None) for future in futures
        ]
        return [Answer(endpoint, *outcome) for endpoint, outcome in zip(endpoints, outcomes, strict=True)]

    def notify(self, method: str, /, *args: Any, **kwargs: Any) -> None:
        """Send a call that is never answered."""
        core, loop = self._enter()
        note = self._note(method, args, kwargs)
        with loop:
            core.notify(note)
            self._threads.fired += 1  # somebody must drive until it is sent
            core.when_settled(self._threads.release_one)
            self._threads.drive()

    def stream(self, method: str, /, *args: Any, **kwargs: Any) -> Stream:
        """The items, as an iterator; leaving it early (`close`, `with`) cancels the call."""
        core, loop = self._enter()
        call = self._outgoing(StreamCall, method, args, kwargs, credit=WINDOW)
        stream = Stream(core, call, DrivingGate(loop), loop)
        with loop:
            self._start(core, call, args, kwargs)
        return stream

    def ready(self) -> None:
        """Wait until there is room below the bound of calls in flight."""
        core, loop = self._enter()
        self._wait_for_room(core, loop, None)

    def _wait_for_room(self, core: ClientCore, loop: ThreadingLoop, seconds: float | None) -> None:
        room = Waiter()
        with loop:
            core.when_room(room.finish, seconds)
        loop.wait(room)

    def close(self, timeout: float = 30.0, *, now: bool = False) -> None:
        """Wait for what is in flight, at most `timeout` seconds (not at all with `now=True`), end the rest with Cancelled."""
        self._check_closable()
        self._shared.close()
        core = self._shared.core
        if core is not None and not core.closed:
            loop = self._threads.loop
            if not now:
                idle = Waiter()
                with loop:
                    core.when_idle(idle.finish)
                    timer = loop.call_later(timeout, idle.finish)
                try:
                    loop.wait(idle)
                finally:
                    timer.cancel()
            with loop:
                core.close("the client was closed")
            self._threads.close(1.0 if now else timeout)
        _open.discard(self)

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
        shared = self._shared
        if shared.owner == 0:
            self._connect()
        shared.entries += 1
        if shared.entries & 15 == 1:
            _check_hub()
            if not shared.warned and (problem := _event_loop_here()):
                shared.warned = True
                warnings.warn(problem, RuntimeWarning, stacklevel=3)
        assert shared.core is not None
        loop: ThreadingLoop = shared.threads.loop
        if time.monotonic() - loop.driven > IDLE:
            _check_hub()
            loop.look()
        return shared.core, loop

    def _upload(self, call: OutgoingCall, iterator: Any) -> SyncUpload:
        loop, core = self._threads.loop, self._shared.core
        assert core is not None
        return SyncUpload(core, call, iterator, DrivingGate(loop), _spawn, loop)

    def _post_state(self, listener: Callable[[str], object], state: str) -> None:
        self._threads.start()
        self._threads.post_now("on_state", listener, state)

    def _connect(self) -> None:
        _check_hub()
        with _making:
            self._check_usable()
            shared = self._shared
            if shared.core is None:
                loop = ThreadingLoop()
                shared.threads = ClientThreads(loop)
                with loop:
                    self._make_core(loop).turn_ended = shared.threads.hand_over

    @property
    def _threads(self) -> ClientThreads:
        return cast(ClientThreads, self._shared.threads)


def _spawn(context: Context, work: Callable[[], object]) -> None:
    threading.Thread(target=context.run, args=(work,), name="ringback-upload", daemon=True).start()


_making = forks.freed(threading.Lock())
_open: weakref.WeakSet[ThreadingClient] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    """What is in flight when the interpreter ends is waited for, as `close` does."""
    for client in list(_open):
        client.close()


def _check_hub() -> None:
    """Raises UsageError where a server could not answer, as it runs on the hub of the thread that waits."""
    if hubs.serving and get_ident() in hubs.serving:
        raise errors.UsageError(
            "the blocking client was called in the thread whose gevent hub runs a server, which could not answer: "
            "use ringback.clients.gevent"
        )


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
