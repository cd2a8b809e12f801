"""The Twisted loop: descriptors as the reactor's readers and writers, handlers in worker threads.

Coroutines run on Deferreds if marked `native=True`. asyncio coroutines run on one native thread
with an asyncio loop, or on the reactor's own loop if the reactor is the asyncio one.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
from collections.abc import Callable, Coroutine
from contextvars import Context
from importlib import import_module
from typing import Any
from weakref import WeakKeyDictionary

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.interfaces import IReactorFDSet, IReadDescriptor, IWriteDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from ...errors import UsageError
from ...runtime import forks
from ..asyncio_thread import AsyncioThread, call_only, start_task
from ..base import Handle, Loop, Report
from ..shared import SharedFutures
from ..workers import Workers
from .service import Startable
from .timers import Timers


@implementer(IReadDescriptor, IWriteDescriptor)
class _Descriptor:
    """The reactor's reader and writer for one descriptor, whether it is read, written or both."""

    def __init__(self, descriptors: dict[int, _Descriptor], fd: int) -> None:
        self._descriptors = descriptors
        self._fd = fd
        self.doRead: Callable[[], object] | None = None
        self.doWrite: Callable[[], object] | None = None
        descriptors[fd] = self

    def fileno(self) -> int:
        return self._fd

    def logPrefix(self) -> str:  # noqa: N802 - Twisted's name
        return "ringback"

    def connectionLost(self, reason: Any) -> None:  # noqa: ARG002, N802
        """The descriptor has failed, or the reactor stops. The next read or write finds out which.

        Our own close has removed this reader or will remove it.
        """
        for ready in (self.doRead, self.doWrite):
            if ready is not None:
                ready()

    def forget(self) -> None:
        if self.doRead is self.doWrite is None and self._descriptors.get(self._fd) is self:
            del self._descriptors[self._fd]


class _Watch:
    """A watch for reading or writing. `what`: the descriptor's attribute, `doRead` or `doWrite`."""

    __slots__ = ("_descriptor", "_remove", "_what")

    def __init__(
        self, descriptor: _Descriptor, what: str, remove: Callable[[_Descriptor], object]
    ) -> None:
        self._descriptor = descriptor
        self._what = what
        self._remove = remove

    def cancel(self) -> None:
        self._remove(self._descriptor)
        setattr(self._descriptor, self._what, None)
        self._descriptor.forget()


# Longest wait in seconds. epoll takes at most 24 days; more fails every turn of the reactor.
LONGEST_WAIT = 86_400.0


class _Timer:
    """A timer of one or more successive reactor calls. It follows the wall clock."""

    __slots__ = ("_args", "_call", "_function", "_left", "_reactor")

    def __init__(
        self, reactor: Any, seconds: float, function: Callable[..., object], args: tuple[Any, ...]
    ) -> None:
        self._reactor = reactor
        self._function = function
        self._args = args
        self._left = seconds
        self._wait()

    def cancel(self) -> None:
        if self._call.active():
            self._call.cancel()

    def _wait(self) -> None:
        seconds = min(self._left, LONGEST_WAIT)
        self._left -= seconds
        if self._left > 0:
            self._call: Any = self._reactor.callLater(seconds, self._wait)
        else:
            self._call = self._reactor.callLater(seconds, self._function, *self._args)


class DeferredGate:
    """A gate for one coroutine on Deferreds. Opened on the reactor's thread."""

    def __init__(self) -> None:
        self._open = False
        self._waiter: Deferred[None] | None = None

    async def wait(self) -> None:
        if not self._open:
            self._waiter = Deferred()
            await self._waiter
        self._open = False

    def open(self) -> None:
        self._open = True
        waiter, self._waiter = self._waiter, None
        if waiter is not None:
            waiter.callback(None)


class TwistedLoop(Loop):
    """The installed reactor.

    `reactor="asyncio"` installs that reactor, if none has been imported yet.
    """

    name = "twisted"
    entered_by = "startService(), as it is an IService"
    service = Startable

    def __init__(self, *, workers: int = 32, reactor: str | None = None) -> None:
        self._reactor: Any = _install(reactor)
        self.workers = self.threads = workers
        self._workers = Workers(workers)
        self._coroutines = AsyncioThread()
        self._order = itertools.count()
        self._futures = SharedFutures()
        # Failures of Deferreds whose failure has been handled here.
        self._failures: WeakKeyDictionary[Deferred[Any], Failure] = WeakKeyDictionary()
        self._descriptors: dict[int, _Descriptor] = {}
        self._timers = Timers(self.watch, self.call_soon)
        forks.inherit(self)
        self.call_soon_threadsafe = self._reactor.callFromThread  # type: ignore[method-assign]

    @property
    def loop(self) -> Any:
        return self._reactor

    def watch(self, fd: int, ready: Callable[[], object]) -> Handle:
        descriptor = self._descriptor(fd)
        descriptor.doRead = ready
        self._reactor.addReader(descriptor)
        return _Watch(descriptor, "doRead", self._reactor.removeReader)

    def watch_writable(self, fd: int, ready: Callable[[], object]) -> Handle:
        descriptor = self._descriptor(fd)
        descriptor.doWrite = ready
        self._reactor.addWriter(descriptor)
        return _Watch(descriptor, "doWrite", self._reactor.removeWriter)

    def _descriptor(self, fd: int) -> _Descriptor:
        return self._descriptors.get(fd) or _Descriptor(self._descriptors, fd)

    def call_soon(self, function: Callable[..., object], *args: Any) -> None:
        # The reactor's timers follow the wall clock: if that is set back, a call due now would be
        # due much later. So the time is near 0. `callFromThread` would wake the reactor through a
        # pipe each time, which takes a tenth of a lone call.
        self._reactor.callLater(0, function, *args).time = next(self._order) * 1e-6

    def call_later(self, seconds: float, function: Callable[..., object], *args: Any) -> Handle:
        try:
            return self._timers.call_later(seconds, function, *args)
        except OSError:  # no timerfd on this system, or no descriptor left
            return _Timer(self._reactor, seconds, function, args)

    def call_soon_threadsafe(self, function: Callable[..., object], *args: Any) -> None:
        self._reactor.callFromThread(function, *args)

    def run_in_worker(self, work: Callable[[], object]) -> None:
        self._workers.submit(work)

    def run_coroutine(
        self, coroutine: Coroutine[Any, Any, Any], report: Report, context: Context
    ) -> Handle:
        loop = getattr(self._reactor, "_asyncioEventloop", None)
        if loop is not None:
            return start_task(loop, coroutine, report, context)
        return self._coroutines.run_coroutine(coroutine, report, context)

    def adopt(self, value: object, report: Report, context: Context) -> Handle | None:  # noqa: ARG002
        if not isinstance(value, Deferred):
            return None
        failure = self._failures.get(value)
        if failure is not None:
            report(None, failure.value)
            return value
        wait, first = self._futures.wait(value, report)
        if first:
            value.addCallbacks(self._succeeded, self._failed, (value,), errbackArgs=(value,))
        return wait

    def _succeeded(self, result: Any, deferred: Deferred[Any]) -> Any:
        self._futures.settle(deferred, result, None)
        return result  # for callbacks that are added later

    def _failed(self, failure: Failure, deferred: Deferred[Any]) -> None:
        """Consume the failure, or Twisted would log it as unhandled."""
        self._failures[deferred] = failure
        self._futures.settle(deferred, None, failure.value)

    def run_native(
        self, coroutine: Coroutine[Any, Any, Any], report: Report, context: Context
    ) -> Handle:
        handle = self.adopt(context.run(ensureDeferred, coroutine), report, context)
        assert handle is not None
        return handle

    def native_gate(self) -> DeferredGate:
        return DeferredGate()

    def forked(self) -> None:
        """In a child: release the watched descriptors, which belong to the parent."""
        reactor: Any = self._reactor
        loop = getattr(reactor, "_asyncioEventloop", None)
        if loop is not None:
            forks.separate(getattr(loop, "_selector", None))
        elif IReactorFDSet.providedBy(reactor):
            descriptors = [one.fileno() for one in (*reactor.getReaders(), *reactor.getWriters())]
            forks.separate(getattr(reactor, "_poller", None), descriptors)

    def come_back(self, function: Callable[[], object]) -> None:
        self.call_soon(function)
        loop = getattr(self._reactor, "_asyncioEventloop", None)
        if loop is not None:
            call_only(loop, function)
        self._coroutines.come_back(function)

    def run(self, start: Callable[[], object]) -> None:
        self._reactor.callWhenRunning(start)
        self._reactor.run(installSignalHandlers=False)

    def stop(self) -> None:
        if self._reactor.running:
            self._reactor.stop()

    def close(self) -> None:
        self._workers.close()
        self._coroutines.close()


def _install(name: str | None) -> Any:
    if name is not None and "twisted.internet.reactor" not in sys.modules:
        try:
            module = import_module(f"twisted.internet.{name}reactor")
        except ImportError:
            raise UsageError(
                f"Twisted has no reactor {name!r}: try epoll, asyncio, poll or select"
            ) from None
        if name == "asyncio":
            loop = asyncio.new_event_loop()
            asyncio.set_event_loop(loop)
            module.install(loop)
        else:
            module.install()
    from twisted.internet import reactor

    return reactor
