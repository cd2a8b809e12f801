"""The blocking client, for any number of threads at once.

A thread that waits for a reply also reads the sockets. While fired calls are in flight, a thread of
the client reads; another one runs the callbacks. All code that uses the core holds the loop's
lock, except that a thread may append to `core.gathered` without it.
"""

from __future__ import annotations

import math
import sys
import threading
import time
import warnings
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, Self, Unpack, cast, overload

from .. import errors
from ..backends import native
from ..backends.blocking import ENTERED
from ..backends.native import get_ident
from ..backends.threading import ThreadingLoop
from ..options.signatures import takes
from ..protocol.messages import Notify
from ..runtime import forks, hubs
from .blocking import BlockingClient, end
from .callbacks.errands import Errands
from .callbacks.futures import FiredFuture
from .callbacks.threads import ClientThreads
from .calls.results import R, T
from .connections.core import SEND_AT, ClientCore
from .conversation.calls import OutgoingCall
from .options import ConnectOptions, UntypedOptions, ViewOptions
from .shared import Shared, give_up

# Idle seconds after which a client checks its connections before the next call: the server may have
# left meanwhile.
IDLE = 0.1

# From this number of threads that wait for another thread to read, the reading thread also sends.
CROWD = 2


class ThreadingClient(BlockingClient[Future[R], R], Generic[R]):
    """A client for threads; each thread waits for its own replies.

    At the bound of calls in flight, `call` and `fire` wait; inside a callback, `fire` fails with
    ResourceExhausted.
    """

    future = "concurrent.futures:Future"
    _fired_kind = FiredFuture

    if TYPE_CHECKING:

        @overload  # type: ignore[override]
        def options(self, **changes: Unpack[UntypedOptions]) -> Self: ...
        @overload
        def options(
            self, *, returns: type[T], **changes: Unpack[UntypedOptions]
        ) -> ThreadingClient[T]: ...
        @overload
        def options(
            self, *, returns: Any, **changes: Unpack[UntypedOptions]
        ) -> ThreadingClient[Any]: ...
        def options(self, **changes: Unpack[ViewOptions]) -> Any: ...

    def _send(
        self,
        core: ClientCore,
        loop: ThreadingLoop,
        call: OutgoingCall,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> bool:
        """Where several threads wait, the driving thread sends the gathered calls of all."""
        if len(loop.followers) < CROWD or call.extras is not None or not self._plain:
            return loop.turn(self._send_now, core, call, args, kwargs)
        if core.full:
            return False
        core.gathered.append(call)
        if core.closed:
            loop.turn(core.flush)
        elif not core.flushing:
            core.flush_later()
            loop.interrupt()
        return True

    def _send_now(
        self, core: ClientCore, call: OutgoingCall, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> bool:
        """Runs in a turn."""
        if core.full:
            return False
        if self._plain:
            core.gathered.append(call)
        else:
            self._start(core, call, args, kwargs)
        core.flush()
        return True

    def _fire(
        self, core: ClientCore, call: FiredFuture, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> FiredFuture:
        """While the reading thread drives, it starts gathered calls without a turn for each."""
        threads: ClientThreads = self._shared.threads
        if call.extras is not None or not self._plain:
            threads.loop.turn(self._fire_alone, core, call, args, kwargs)
            return call
        core.gathered.append(call)
        if core.closed:
            core.loop.turn(core.flush)
        if core.closed or not threads.driving or len(core.gathered) >= SEND_AT:
            threads.loop.turn(threads.drive)
        elif not core.flushing:
            core.flush_later()
            threads.loop.interrupt()
        return call

    def _fire_alone(
        self, core: ClientCore, call: FiredFuture, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        """Runs in a turn."""
        if call.failure is None:
            self._start(core, call, args, kwargs)
        else:
            call.finish(None, call.failure)
        self._threads.drive()

    def _notify(self, core: ClientCore, note: Notify) -> None:
        core.notify(note)
        self._threads.drive()

    def _outcome(self, future: Future[R]) -> tuple[Any, BaseException | None]:
        error = future.exception()
        return (None, error) if error is not None else (future.result(), None)

    def _in_callback(self) -> bool:
        return self._threads.in_callback()

    def _end_callbacks(self, seconds: float) -> None:
        self._threads.close(seconds)

    def _drop(self, core: ClientCore) -> None:
        native.start_thread(partial(_leave, core, self._threads))

    def _core(self) -> tuple[ClientCore, ThreadingLoop]:
        shared = self._shared
        if shared.owner == 0:
            self._connect()
        shared.entries += 1
        if shared.entries & 15 == 1:
            _check_hub()
            if not shared.warned and (problem := _event_loop_here()):
                shared.warned = True
                warnings.warn(problem, RuntimeWarning, stacklevel=3)
        core: Any = shared.core
        if core is None:  # given up just now
            return self._core()
        loop: ThreadingLoop = core.loop
        if threading.get_ident() in loop.waiting and loop.is_entered():
            raise RuntimeError(ENTERED)
        if not loop.whole and self._is_cut(loop):
            loop.mend()
            return self._core()
        if loop.driver is None and time.monotonic() - loop.driven > IDLE:
            _check_hub()
            loop.look()
        return core, loop

    @staticmethod
    def _is_cut(loop: ThreadingLoop) -> bool:
        """Whether a turn was cut, and not merely taken by another thread.
        Raises RuntimeError in a turn of this thread."""
        if loop.is_turning():
            raise RuntimeError(ENTERED)
        with loop.lock:
            return not loop.whole

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
            raise errors.ResourceExhausted(
                f"cannot connect: {error.strerror} in this process"
            ) from None
        loop.cut = partial(give_up, weakref.ref(shared), weakref.ref(loop))
        threads = shared.threads = ClientThreads(loop)

        def tie(core: ClientCore) -> None:
            threads.core = core
            core.post = partial(_errands.post, loop.turn)

        try:
            self._make_core(loop, tie)
        except BaseException:
            loop.close()
            raise

    @property
    def _threads(self) -> ClientThreads:
        return cast(ClientThreads, self._shared.threads)


def _raise(error: BaseException) -> None:
    raise error


def _leave(core: ClientCore, threads: ClientThreads) -> None:
    """Close the core of a dropped client as `close` does, in a native thread of its own."""
    end(core, "the client was dropped", math.inf)
    threads.close(1.0)


_making = forks.freed(threading.Lock())
_errands = Errands()


def _check_hub() -> None:
    """Raises UsageError if the waiting thread's hub runs a server, which could not reply."""
    if hubs.serving and get_ident() in hubs.serving:
        raise errors.UsageError(
            "the blocking client was called in the thread whose gevent hub runs a server, which "
            "could not reply: "
            "use ringback.clients.gevent"
        )


def _event_loop_here() -> str | None:
    """Why blocking here is a mistake, or None."""
    asyncio = sys.modules.get("asyncio")
    if asyncio is not None and asyncio._get_running_loop() is not None:
        return (
            "the blocking client was called on a running asyncio loop and blocks it: use "
            "ringback.clients.asyncio"
        )
    threadable = sys.modules.get("twisted.python.threadable")
    if threadable is not None and threadable.isInIOThread() and threadable.ioThread is not None:
        reactor = sys.modules.get("twisted.internet.reactor")
        if reactor is not None and getattr(reactor, "running", False):
            return (
                "the blocking client was called on the reactor's thread and blocks it: use "
                "ringback.clients.twisted"
            )
    return None


@takes(ConnectOptions)
def connect(*endpoints: str, **options: Unpack[ConnectOptions]) -> ThreadingClient:
    """Make a blocking client, safe to use from many threads. It connects at first use."""
    return ThreadingClient(*endpoints, **options)
