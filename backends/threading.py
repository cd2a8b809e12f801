"""The threading backend: a loop that any thread may drive, one at a time.

A blocking call would pay two thread switches if another thread read the socket for it. So the
waiting thread itself polls: it *drives* the loop until its call is done, then wakes the next
waiting thread to drive (the leader/followers pattern, Schmidt and others, PLoP 2000). A server's
thread drives for ever. Threads change the state of the loop, and of the core above it, only under
`lock`, and never hold the lock while they poll. They add callbacks for the next turn, and
followers, without the lock.
"""

from __future__ import annotations

import _thread
import heapq
import itertools
import logging
import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from .. import errors
from ..logs.errorlog import log_error
from ..runtime import forks
from . import native
from .base import Begin, Drain, Handle, Report, T
from .blocking import CUT, ENTERED, BlockingLoop
from .workers import Workers

if TYPE_CHECKING:
    from .asyncio_thread import AsyncioThread

log = logging.getLogger("ringback.backends")


# Longest poll in milliseconds. `poll` takes at most 24 days; later timers are checked in between.
MAX_POLL = 3_600_000.0


class DrivingGate:
    """A gate for one thread, which drives the loop while it waits. Opened under the loop's lock."""

    __slots__ = ("_asleep", "_loop", "_wake", "opened")

    def __init__(self, loop: ThreadingLoop) -> None:
        self.opened = False
        self._loop = loop
        self._asleep = False
        self._wake: threading.Lock | None = None

    def wait(self) -> None:
        self._loop.wait(self)
        self.opened = False

    def open(self) -> None:
        self.opened = True
        if self._asleep:
            # Removed here, so that its thread goes on without the lock.
            self._loop.followers.pop(self, None)
            self.rouse()

    def rouse(self) -> None:
        """Wake the gate's thread to check again: the gate is open, or a new driver is needed."""
        if self._asleep and self._wake is not None:
            self._asleep = False
            self._wake.release()

    def fall_asleep(self) -> threading.Lock:
        """Prepare to sleep. The caller then acquires the returned lock."""
        if self._wake is None:
            self._wake = threading.Lock()
        self._wake.acquire(blocking=False)  # it may be free: roused before the last sleep began
        self._asleep = True
        return self._wake


class _Watch:
    """A watch of one descriptor. `watched`: the loop's callbacks for the same kind of event."""

    __slots__ = ("_fd", "_loop", "_watched")

    def __init__(
        self, loop: ThreadingLoop, watched: dict[int, Callable[[], object]], fd: int
    ) -> None:
        self._loop = loop
        self._watched = watched
        self._fd = fd

    def cancel(self) -> None:
        if self._watched.pop(self._fd, None) is not None:
            self._loop.poll_for(self._fd)


class _Timer:
    __slots__ = ("args", "function")

    def __init__(self, function: Callable[..., object], args: tuple[Any, ...]) -> None:
        self.function: Callable[..., object] | None = function
        self.args = args

    def cancel(self) -> None:
        self.function = None
        self.args = ()


class ThreadingLoop(BlockingLoop):
    """An event loop that its callers drive.

    `turn` calls a function as a turn of the loop in the calling thread; `wait` drives the loop
    until a gate is open.
    """

    name = "threading"
    entered_with = "with"
    entered_by = "`with`"
    shares_watches = False

    def __init__(self, *, workers: int = 32) -> None:
        super().__init__()
        self.lock = threading.RLock()
        self.poller = select.poll()
        self.watched: dict[int, Callable[[], object]] = {}
        self._watched_writable: dict[int, Callable[[], object]] = {}
        self._soon: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        self._timers: list[tuple[float, int, _Timer]] = []
        self._count = itertools.count()
        self.at_turn_end: Callable[[], object] | None = None  # called once, at the end of this turn
        self.driver: DrivingGate | None = None  # the gate of the driving thread
        self._polling = False
        self.followers: dict[DrivingGate, None] = {}
        self._waker = (
            os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC) if hasattr(os, "eventfd") else -1
        )
        self._pipe = os.pipe() if self._waker < 0 else (self._waker, self._waker)
        os.set_blocking(self._pipe[0], False)
        os.set_blocking(self._pipe[1], False)
        self.poller.register(self._pipe[0], select.POLLIN)
        self._woken = False
        # Held for each write to the waker: after `close`, its descriptor's number may be reused.
        self._waking = threading.Lock()
        self._closed = False
        self.workers = self.threads = workers
        self._workers = Workers(workers)
        self._coroutines: AsyncioThread | None = None  # made for the first coroutine
        self._stop: DrivingGate | None = None  # the gate of `run`
        self._served = threading.Lock()  # held while a server runs in a thread of its own
        self.always_runs = False  # True once a thread does nothing but drive
        self.driven = time.monotonic()  # when a thread last drove
        # Threads in `wait`: a signal handler must not call `wait` in them again.
        self.waiting: set[int] = set()

    @property
    def loop(self) -> ThreadingLoop:
        return self

    def watch(self, fd: int, ready: Callable[[], object]) -> Handle:
        return self._watch(self.watched, fd, ready)

    def watch_writable(self, fd: int, ready: Callable[[], object]) -> Handle:
        return self._watch(self._watched_writable, fd, ready)

    def _watch(
        self, watched: dict[int, Callable[[], object]], fd: int, ready: Callable[[], object]
    ) -> Handle:
        watched[fd] = ready
        self.poll_for(fd)
        self.interrupt()
        return _Watch(self, watched, fd)

    def poll_for(self, fd: int) -> None:
        """Register the descriptor for the events that it is now watched for."""
        events = (select.POLLIN if fd in self.watched else 0) | (
            select.POLLOUT if fd in self._watched_writable else 0
        )
        if events:
            self.poller.register(fd, events)
        else:
            self.poller.unregister(fd)

    def call_soon(self, function: Callable[..., object], *args: Any) -> None:
        self._soon.append((function, args))

    def call_later(self, seconds: float, function: Callable[..., object], *args: Any) -> Handle:
        timer = _Timer(function, args)
        heapq.heappush(self._timers, (time.monotonic() + seconds, next(self._count), timer))
        if self._timers[0][2] is timer:
            self.interrupt()
        return timer

    def call_soon_threadsafe(self, function: Callable[..., object], *args: Any) -> None:
        self._soon.append((function, args))
        self.interrupt()

    def run_in_worker(self, work: Callable[[], object]) -> None:
        self._workers.submit(work)

    def run_coroutine(
        self, coroutine: Coroutine[Any, Any, Any], report: Report, context: Context
    ) -> Handle:
        if self._coroutines is None:
            from .asyncio_thread import AsyncioThread  # which loads asyncio

            self._coroutines = AsyncioThread()
        return self._coroutines.run_coroutine(coroutine, report, context)

    def enter(self, begin: Begin) -> None:
        """Run the server in its own thread. If a signal handler raises here, the server ends."""
        started: SimpleQueue[BaseException | None] = SimpleQueue()
        lock = threading.Lock()
        runs = given_up = False

        def begun(error: BaseException | None) -> None:
            if error is not None:
                self.stop()
            started.put(error)

        def run() -> None:
            nonlocal runs
            with lock:
                if given_up:
                    return
                runs = True
            try:
                self.run(partial(begin, begun))
            finally:
                self._served.release()

        self._served.acquire()
        try:
            threading.Thread(target=run, name="ringback-server", daemon=True).start()
            error = started.get()
        except BaseException:
            with lock:
                given_up = True
            if runs:
                self.call_soon_threadsafe(self.stop)
                self._served.acquire()
            raise
        if error is not None:
            self._served.acquire()
            raise error

    def leave(self, drain: Drain) -> None:
        self.call_soon_threadsafe(drain, lambda _: self.stop())
        self._served.acquire()

    def run(self, start: Callable[[], object]) -> None:
        self.always_runs = True
        gate = self._stop = DrivingGate(self)
        try:
            self.turn(start)
            self.wait(gate)
        finally:
            self._stop = None

    def stop(self) -> None:
        if self._stop is not None:
            self._stop.open()

    def give_up(self) -> None:
        """Under the lock: close the loop and wake all waiting threads, whose calls have ended."""
        self._woken = False
        self.interrupt()
        self.close()
        for gate in list(self.followers):
            gate.rouse()

    def close(self) -> None:
        """Close the loop when no thread waits; one may still be returning from its poll."""
        self._workers.close()
        if self._coroutines is not None:
            self._coroutines.close()
        with self.lock, self._waking:
            if not self._closed:
                self._closed = True
                for fd in set(self._pipe):
                    os.close(fd)

    def forked(self) -> None:
        """In a child: drop timers and waits, and free the locks, whose threads the child lacks."""
        self._closed = True
        self.run_soon()
        self._timers.clear()
        self.waiting.clear()
        self.whole = True
        for lock in (self.lock, self._waking):
            forks.free(lock)

    def come_back(self, function: Callable[[], object]) -> None:
        if self._coroutines is not None:
            self._coroutines.come_back(function)

    def turn(self, function: Callable[..., T], *args: Any) -> T:
        """Call the function as a turn.

        The function raises a CallError only before it has changed anything; any other exception
        cuts the turn.
        """
        if not self.whole and self.is_turning():
            raise RuntimeError(ENTERED)
        try:
            # No context manager of our own: an exception could come between it and the lock.
            with self.lock:
                if not self.whole:
                    self.begin_turn()  # which raises
                self.whole = False
                if self._soon:
                    self.run_soon()
                try:
                    result = function(*args)
                except errors.CallError:
                    self.whole = True
                    raise
                if self._soon or self.driver is not None or self.at_turn_end is not None:
                    self.end_turn()
                self.whole = True
            return result
        except BaseException:
            self.mend()
            raise

    def begin_turn(self) -> None:
        """Begin a turn, under the lock and before any change. The caller sets `whole` at its end.

        Raises Unavailable if a turn was cut.
        """
        if not self.whole:
            raise errors.Unavailable(CUT, started=False)
        self.whole = False

    def may_be_cut(self) -> bool:
        return not self.always_runs and native.may_be_interrupted()

    def forget(self) -> None:
        for watched in (self.watched, self._watched_writable):
            for fd in list(watched):
                _Watch(self, watched, fd).cancel()
        self._soon.clear()
        self._timers.clear()

    def mend(self) -> None:
        """If a turn was cut, give up all connections of the loop.

        This happens in a thread of its own, where no signal handler runs.
        """
        if not self.whole and not self.is_turning():
            native.start_thread(self._mend).acquire()
        if self.followers and self.driver is None:
            with self.lock:
                if self.driver is None:
                    self._promote()

    def _mend(self) -> None:
        with self.lock:
            if not self.whole:
                try:
                    self.cut()
                finally:
                    self.whole = True

    def is_turning(self) -> bool:
        """Whether this thread is in the midst of a turn.

        Then a signal handler or the garbage collector has made this call.
        """
        return not self.whole and self.lock._is_owned()  # type: ignore[attr-defined]

    def is_entered(self) -> bool:
        """Whether this call came from within a call that uses this loop, in the same thread."""
        owned = self.lock._is_owned  # type: ignore[attr-defined]
        return self.is_turning() or (threading.get_ident() in self.waiting and not owned())

    def end_turn(self) -> None:
        """Run the queued callbacks, then interrupt a polling driver if it has work or is done.

        Called under the lock, at the end of everything that touched a socket.
        """
        if self._soon or self.at_turn_end is not None:
            self.run_soon()
        driver = self.driver
        if driver is None:
            if self._soon:
                self._promote()
        elif self._soon or driver.opened:
            self.interrupt()

    def gate(self) -> DrivingGate:
        return DrivingGate(self)

    def spawn(self, work: Callable[[], object], context: Context) -> None:
        _thread.start_new_thread(context.run, (work,))

    def wait(self, gate: DrivingGate) -> None:
        """Return when the gate is open: drive meanwhile, or sleep while another thread drives."""
        lock, thread = self.lock, threading.get_ident()
        if thread in self.waiting or lock._is_owned():  # type: ignore[attr-defined]
            raise RuntimeError(ENTERED)
        try:
            self.waiting.add(thread)
            while not (gate.opened or self._closed):
                if self.driver is not None:
                    # Without the lock: a thread that opens the gate, or stops driving, checks the
                    # followers afterwards.
                    wake = gate.fall_asleep()
                    self.followers[gate] = None
                    if self.driver is not None and not (gate.opened or self._closed):
                        wake.acquire()
                    self.followers.pop(gate, None)
                    continue
                with lock:
                    if self.driver is None:
                        self.driver = gate
                if self.driver is gate:
                    self._drive(gate)
        except BaseException:
            self.mend()
            raise
        finally:
            drove = self.driver is gate
            if drove:
                self.driver = None
            self.waiting.discard(thread)
            # A thread that drove wakes the next one: a follower looks for a driver only after it
            # has joined the followers. A thread that was woken to drive, but whose gate has opened
            # meanwhile, wakes the next one too.
            if drove or (self.followers and (self.driver is None or gate in self.followers)):
                with lock:
                    if self.followers:
                        self.followers.pop(gate, None)
                        if self.driver is None:
                            self._promote()

    def _drive(self, gate: DrivingGate) -> None:
        """Wait for events and timers, and run those that are due, until the gate is open."""
        lock, poll, waker = self.lock, self.poller.poll, self._pipe[0]
        watched, writable, timers = self.watched, self._watched_writable, self._timers
        while True:
            with lock:
                if not self.whole:
                    self.begin_turn()  # which raises
                self.whole = False
                if self._soon or self.at_turn_end is not None:
                    self.run_soon()
                over = gate.opened or self._closed
                if over:
                    self.whole = True
                    break
                # Set before `_soon` is checked: a thread adds to `_soon` first and checks this
                # then.
                self._polling = True
                while timers and timers[0][2].function is None:  # cancelled
                    heapq.heappop(timers)
                timeout = None
                if self._soon:
                    timeout = 0.0
                elif timers:
                    timeout = min(MAX_POLL, max(0.0, (timers[0][0] - time.monotonic()) * 1000))
                self.whole = True
            try:
                events = poll(timeout)
            finally:
                self._polling = False
            with lock:
                if self._closed:
                    break  # the descriptors may be reused by now
                if not self.whole:
                    self.begin_turn()  # which raises
                self.whole = False
                for fd, event in events:
                    if fd == waker:
                        os.read(fd, 4096)
                        # After the read: a write between the two would be the last one for ever.
                        self._woken = False
                        continue
                    if event != select.POLLOUT and fd in watched:
                        if self.always_runs:
                            self._call(watched[fd], ())
                        else:
                            watched[fd]()
                    if event != select.POLLIN and fd in writable:
                        if self.always_runs:
                            self._call(writable[fd], ())
                        else:
                            writable[fd]()
                if timers and timers[0][0] <= time.monotonic():
                    self._run_timers()
                self.whole = True
                if gate.opened and not self._soon and self.at_turn_end is None:
                    break
        self.driven = time.monotonic()

    def run_soon(self) -> None:
        """Run the callbacks of `call_soon`, then `at_turn_end`.

        Callbacks that these add wait for the next turn.
        """
        soon = self._soon
        for _ in range(len(soon)):
            if not soon:
                break  # a turn within a callback has run the rest
            self._call(*soon.popleft())
        if self.at_turn_end is not None:
            function, self.at_turn_end = self.at_turn_end, None
            function()

    def interrupt(self) -> None:
        """Wake a polling driver, with one write however many threads ask for it."""
        if self._polling and not self._woken:
            with self._waking:
                if not self._closed:
                    self._woken = True
                    os.write(self._pipe[1], b"\x01\0\0\0\0\0\0\0")

    def look(self) -> None:
        """Take a turn without waiting, unless another thread drives.

        This serves a loop that may have been idle for long.
        """
        with self.lock:
            if self.driver is not None:
                return
            gate = DrivingGate(self)
            # Opens the gate in the turn after next, so that this turn polls without waiting.
            self.call_soon(self.call_soon, gate.open)
        self.wait(gate)

    def _promote(self) -> None:
        for gate in list(self.followers):
            if not gate.opened:
                gate.rouse()
                return

    def _run_timers(self) -> None:
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            timer = heapq.heappop(self._timers)[2]
            if timer.function is not None:
                self._call(timer.function, timer.args)

    def _call(self, function: Callable[..., object], args: tuple[Any, ...]) -> None:
        """Call a due callback. A server's thread logs its exception; a client's caller gets it."""
        try:
            function(*args)
        except Exception as error:
            if not self.always_runs:
                raise
            log_error(log, "event loop callback failed", error=error)
