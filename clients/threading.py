"""The blocking client: for any number of threads at once. The thread that waits for an answer is the one that reads it.

A thread of the client's own reads only while fired calls are in flight and nobody waits; another runs the callbacks. All that
touches the core holds the loop's lock.
"""

from __future__ import annotations

import _thread
import atexit
import math
import sys
import threading
import time
import warnings
import weakref
from collections.abc import Callable
from contextvars import Context
from functools import partial
from types import TracebackType
from typing import Any, Self, cast

from .. import errors, forks, hubs
from ..backends import native
from ..backends.native import get_ident
from ..backends.threading import DrivingGate, ThreadingLoop, Waiter
from ..backends.turns import ENTERED
from ..protocol.calls import OutgoingCall
from ..protocol.messages import Notify
from ..protocol.streams import WINDOW
from .base import Answer, Callback, Client, Errback, Shared, give_up, in_context
from .core import ClientCore, open_cores
from .errands import Errands
from .futures import FiredCall
from .options import seconds_to_close
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

    @property
    def told(self) -> bool:
        return self.waiter.done


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
            self._interrupted(core, loop, call)
            raise
        if call.error is not None:
            error, call.error = call.error, None
            try:
                raise error
            finally:
                del error  # or it and this frame would keep each other, and the client
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
            if not loop.whole:
                loop.begin_turn()  # which raises
            loop.whole = False
            if self._shared.interceptors or self._options.cache is not None:
                self._start(core, call, args, kwargs)
            else:
                core.start_now(call, time.monotonic())
            core.flush()
            loop.end_turn()
            loop.whole = True
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
        shared = self._shared
        threads: ClientThreads = shared.threads
        failure: errors.CallError | None = None
        try:
            call = self._outgoing(FiredCall, method, args, kwargs)
        except errors.CallError as error:
            failure = error
            call = self._unsent(FiredCall, method)
        call.client = self
        call.callback = None if callback is None else in_context(callback)
        call.errback = None if errback is None else in_context(errback)
        if errback is not None:
            call.observed = True
        while failure is None and core.full:
            if threads.in_callback():
                failure = errors.ResourceExhausted(f"{method}: {core.bound}")
            else:
                call.message.timeout = None  # to be reckoned anew when it is sent
                self.ready()
        try:
            with loop.lock:
                if not loop.whole:
                    loop.begin_turn()  # which raises
                loop.whole = False
                threads.fired += 1
                if failure is not None:
                    call.finish(None, failure)
                elif shared.interceptors or self._options.cache is not None:
                    self._start(core, call, args, kwargs)
                else:
                    core.start(call, time.monotonic())
                if threads.posted or not threads.driving:
                    threads.drive()
                else:
                    loop.interrupt()
                loop.whole = True
        except BaseException:
            call.observe()
            self._interrupted(core, loop, call)
            raise
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
        loop.turn(self._notify, core, note)

    def _notify(self, core: ClientCore, note: Notify) -> None:
        core.notify(note)
        self._threads.fired += 1  # somebody must drive until it is sent
        core.when_settled(self._threads.release_one)
        self._threads.drive()

    def stream(self, method: str, /, *args: Any, **kwargs: Any) -> Stream:
        """The items, as an iterator; leaving it early (`close`, `with`) cancels the call."""
        core, loop = self._enter()
        call = self._outgoing(StreamCall, method, args, kwargs, credit=WINDOW)
        stream = Stream(core, call, DrivingGate(loop))
        try:
            loop.turn(self._start, core, call, args, kwargs)
        except BaseException:
            self._interrupted(core, loop, call)
            raise
        return stream

    def ready(self) -> None:
        """Wait until there is room below the bound of calls in flight."""
        core, loop = self._enter()
        self._wait_for_room(core, loop, None)

    def _wait_for_room(self, core: ClientCore, loop: ThreadingLoop, seconds: float | None) -> None:
        room = Waiter()
        loop.turn(core.when_room, room.finish, seconds)
        loop.wait(room)

    def close(self, timeout: float | None = 30.0, *, now: bool = False) -> None:
        """Wait for what is in flight, at most `timeout` seconds (not at all with `now=True`), end the rest with Cancelled."""
        self._check_closable()
        seconds = seconds_to_close(timeout)
        self._shared.close()
        core = self._shared.core
        if core is not None and not core.closed:
            threads, loop = self._threads, self._threads.loop
            if not now:
                idle = Waiter()
                loop.turn(core.when_idle, idle.finish)
                loop.turn(loop.call_later, seconds, idle.finish)
                loop.wait(idle)
            loop.turn(core.close, "the client was closed")
            threads.close(1.0 if now else seconds)
        _open.discard(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _drop(self, core: ClientCore) -> None:
        native.start_thread(partial(_leave, core, self._threads))

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
        core, loop = shared.core, shared.threads.loop
        assert core is not None
        if threading.get_ident() in loop.waiting and loop.is_entered():
            raise RuntimeError(ENTERED)
        if not loop.whole and self._is_cut(loop):
            loop.mend()
            return self._enter()
        if loop.driver is None and time.monotonic() - loop.driven > IDLE:
            _check_hub()
            loop.look()
        return core, loop

    @staticmethod
    def _is_cut(loop: ThreadingLoop) -> bool:
        """Whether a turn was cut, and is not merely taken by another thread. Raises RuntimeError where this thread is in one."""
        if loop.is_turning():
            raise RuntimeError(ENTERED)
        with loop.lock:
            return not loop.whole

    def _interrupted(self, core: ClientCore, loop: ThreadingLoop, call: OutgoingCall) -> None:
        """Something was raised while the call was made or waited for, perhaps by the handler of a signal."""
        loop.mend()
        if call.id and not call.ended:
            loop.turn(core.cancel, call, errors.Cancelled(f"{call.method} was interrupted"))

    def _upload(self, call: OutgoingCall, iterator: Any) -> SyncUpload:
        loop, core = self._threads.loop, self._shared.core
        assert core is not None
        return SyncUpload(core, call, iterator, DrivingGate(loop), _spawn)

    def _post_state(self, listener: Callable[[str], object], state: str) -> None:
        self._threads.start()
        self._threads.post_now("on_state", listener, state)

    def _connect(self) -> None:
        _check_hub()
        self._check_usable()
        if native.may_be_interrupted():
            failed: list[BaseException] = []
            native.start_thread(partial(self._connect_here, failed.append)).acquire()
            if failed:
                raise failed[0]
        else:
            self._connect_here(_raise)

    def _connect_here(self, failed: Callable[[BaseException], object]) -> None:
        try:
            with _making:
                shared = self._shared
                if shared.core is None and not shared.closed:
                    self._make_loop(shared)
        except BaseException as error:
            failed(error)

    def _make_loop(self, shared: Shared) -> None:
        try:
            loop = ThreadingLoop()
        except OSError as error:
            raise errors.ResourceExhausted(f"cannot connect: {error.strerror} in this process") from None
        loop.cut = partial(give_up, weakref.ref(shared), weakref.ref(loop))
        threads = shared.threads = ClientThreads(loop)
        try:
            core = self._make_core(loop, threads.hand_over)
        except BaseException:
            loop.close()
            raise
        core.post = partial(_errands.post, loop.turn)

    @property
    def _threads(self) -> ClientThreads:
        return cast(ClientThreads, self._shared.threads)


def _raise(error: BaseException) -> None:
    raise error


def _spawn(context: Context, work: Callable[[], object]) -> None:
    _thread.start_new_thread(context.run, (work,))


def _wait_until_idle(core: ClientCore, loop: ThreadingLoop, seconds: float = math.inf) -> None:
    idle = Waiter()
    if not core.closed:
        loop.turn(core.when_idle, idle.finish)
        loop.turn(loop.call_later, seconds, idle.finish)
        loop.wait(idle)


def _leave(core: ClientCore, threads: ClientThreads) -> None:
    """What `close` does, for a client that was dropped; in a native thread of its own."""
    _wait_until_idle(core, threads.loop)
    threads.loop.turn(core.close, "the client was dropped")
    threads.close(1.0)


_making = forks.freed(threading.Lock())
_open: weakref.WeakSet[ThreadingClient] = weakref.WeakSet()
_errands = Errands()


@atexit.register
def _close_all() -> None:
    """What is in flight when the interpreter ends is waited for, as `close` does; but for streams, which nobody will read."""
    for core in open_cores(ThreadingLoop):
        core.loop.turn(core.cancel_streams)
    for client in list(_open):
        client.close()
    for core in open_cores(ThreadingLoop):  # of clients that were dropped
        _wait_until_idle(core, cast(ThreadingLoop, core.loop), 30.0)


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
