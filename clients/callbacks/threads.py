"""The threads of one blocking client: a reader, which drives the loop while fired calls are in flight and nobody waits, and
one that runs the callbacks. Both are started with the first fired call: once the interpreter ends, none can be.
"""

from __future__ import annotations

import _thread
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any

from ...backends.threading import ThreadingLoop
from ...errors import Unavailable
from ..calls.maps import PartOfMap
from ..connections.core import ClientCore
from ..conversation.calls import OutgoingCall
from .futures import FiredFuture
from .running import Entry, run_callbacks

# Seconds after which an idle client looks at its connections.
IDLE_LOOK = 30.0


# Calls whose callers do not wait where they called.
_FIRED = frozenset({FiredFuture, PartOfMap})


class _Thread(threading.Thread):
    """Starts itself, from a thread that no signal reaches: a handler that raises in `start` may leave the new thread waiting for ever."""

    def __init__(self, work: Callable[[], None], name: str) -> None:
        super().__init__(target=work, name=name, daemon=True)
        self._begins = threading.Lock()  # held until it runs
        self._begins.acquire()
        _thread.start_new_thread(self.start, ())

    def run(self) -> None:
        self._begins.release()
        super().run()

    def join(self, timeout: float | None = None) -> None:
        """As of any thread; also of one that has yet to be started."""
        if self._begins.acquire(timeout=-1 if timeout is None else timeout):
            self._begins.release()
            super().join(timeout)


class ClientThreads:
    """What the calling threads and these two share; all but `driving`, `in_callback` and `post_now` is to be used under the loop's lock."""

    def __init__(self, loop: ThreadingLoop) -> None:
        self.loop = loop
        self.core: ClientCore | None = None  # once it is made
        self.driving = False
        self._reader: _Thread | None = None
        self._drive = threading.Lock()  # held while the reader has nothing to do
        self._drive.acquire()
        self._rest = self.loop.gate()
        self._waits_to_rest = False  # whether the core was asked to tell when no call is in flight
        self.posted: list[Entry] = []  # to be called, in order, when this turn of the loop ends
        self._callbacks: SimpleQueue[list[Entry] | None] = SimpleQueue()
        self._caller: _Thread | None = None
        self._called_back = False  # whether that thread has ended
        self._closed = False

    def start(self) -> None:
        """Start both, if they do not run yet."""
        if self._reader is None:
            self._reader = _Thread(self._read, "ringback-reader")
            self._caller = _Thread(self._call_back, "ringback-callbacks")

    def drive(self) -> None:
        """Send what has gathered; see to it that somebody drives while fired calls are in flight."""
        assert self.core is not None
        self.start()
        self.core.flush()
        if not (self.driving or self._closed) and self._is_needed():
            self._rest = self.loop.gate()
            if not self._waits_to_rest:
                self.core.when_idle(self.rest)
                self._waits_to_rest = True
            self._start_reading()
            self.driving = True  # last: what is before may raise, at the end of a caller's stack

    def rest(self) -> None:
        """No call is in flight."""
        self._waits_to_rest = False
        if self.driving:
            self._rest.open()

    def post_now(self, call: OutgoingCall | str, function: Callable[[Any], object], argument: Any) -> None:
        """Have the function called, from any thread; at once, where the client is closed and its callbacks have ended."""
        self._callbacks.put([(call, function, argument)])
        if self._called_back:
            self._call_rest()

    def in_callback(self) -> bool:
        return self._caller is threading.current_thread()

    def close(self, timeout: float) -> None:
        """End both threads, after the last callback if that ends within so many seconds. Not under the lock."""
        with self.loop.lock:
            self._end()
        for thread in (self._reader, self._caller):
            if thread is not None and thread is not threading.current_thread():
                thread.join(timeout)
        self.loop.close()

    def give_up(self) -> None:
        """The loop is given up with all that was to happen on it; the callbacks that are due are still called."""
        self.hand_over()
        self._end()
        self.loop.give_up()

    def _end(self) -> None:
        self._closed, self.driving = True, False
        self._rest.open()
        self._start_reading()
        self._callbacks.put(None)

    def _start_reading(self) -> None:
        if self._drive.locked():
            self._drive.release()

    def forked(self) -> None:
        """In a child, where neither thread is, and nobody drives."""
        self._closed, self.driving = True, False
        self.posted.clear()
        self.loop.forked()

    def hand_over(self) -> None:
        """At the end of a turn: pass on what was posted in it. Not by `call_soon`, which may leave it to a next turn that nobody
        takes when this one ended the last call."""
        if self.posted:
            posted, self.posted = self.posted, []
            self._callbacks.put(posted)

    def end_turn(self) -> None:
        """At the end of a turn in which fired calls have ended. Where none is left, who waits for an answer is to read it himself."""
        self.hand_over()
        if self.driving and not self._is_needed():
            self._rest.open()

    def _is_needed(self) -> bool:
        """Whether fired calls are in flight, or something waits to be sent. (The newest first: one look tells, as a rule.)"""
        core = self.core
        if core is None:
            return False
        return not core.settled or not _FIRED.isdisjoint(map(type, reversed(core.calls.values())))

    def _read(self) -> None:
        loop = self.loop
        while True:
            asked = self._drive.acquire(timeout=IDLE_LOOK)
            if not self._closed:
                with suppress(Unavailable):  # a turn was cut, and the loop given up
                    if not asked:
                        loop.look()
                        continue
                    loop.wait(self._rest)
            self.driving = False  # first: who fires looks at this after adding to what has gathered
            with suppress(Unavailable):
                loop.turn(self.drive)
            if self._closed:
                return

    def _call_back(self) -> None:
        while (entries := self._callbacks.get()) is not None:
            run_callbacks(entries)
            del entries  # the next wait may be long
        self._called_back = True
        self._call_rest()  # who put something after the last look has seen that this thread would not take it, or is seen here

    def _call_rest(self) -> None:
        with suppress(Empty):
            while True:
                run_callbacks(self._callbacks.get_nowait() or [])
