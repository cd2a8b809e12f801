"""The two threads of a blocking client: a reader and a callback thread.

The reader drives the loop while fired calls are in flight and no caller waits. The first fired call
starts both: at interpreter exit, no thread can start.
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

# Seconds after which an idle client checks its connections.
IDLE_LOOK = 30.0


# Kinds of calls whose callers do not block.
_FIRED = frozenset({FiredFuture, PartOfMap})


class _Thread(threading.Thread):
    """A thread that is started from another one, which receives no signals.
    A signal handler that raises inside `start` could leave the new thread waiting for ever."""

    def __init__(self, work: Callable[[], None], name: str) -> None:
        super().__init__(target=work, name=name, daemon=True)
        self._begins = threading.Lock()  # held until it runs
        self._begins.acquire()
        _thread.start_new_thread(self.start, ())

    def run(self) -> None:
        self._begins.release()
        super().run()

    def join(self, timeout: float | None = None) -> None:
        """Join the thread, even if it has not started yet."""
        if self._begins.acquire(timeout=-1 if timeout is None else timeout):
            self._begins.release()
            super().join(timeout)


class ClientThreads:
    """State shared by the calling threads and these two.
    All but `driving`, `in_callback` and `post_now` needs the loop's lock."""

    def __init__(self, loop: ThreadingLoop) -> None:
        self.loop = loop
        self.core: ClientCore | None = None  # set once it is made
        self.driving = False
        self._reader: _Thread | None = None
        self._drive = threading.Lock()  # held while the reader is idle
        self._drive.acquire()
        self._rest = self.loop.gate()
        # whether `rest` is queued at the core for when no call is in flight
        self._waits_to_rest = False
        # callbacks to queue, in order, when this turn of the loop ends
        self.posted: list[Entry] = []
        self._callbacks: SimpleQueue[list[Entry] | None] = SimpleQueue()
        self._caller: _Thread | None = None
        self._called_back = False  # whether the callback thread has ended
        self._closed = False

    def start(self) -> None:
        """Start both threads, unless they run."""
        if self._reader is None:
            self._reader = _Thread(self._read, "ringback-reader")
            self._caller = _Thread(self._call_back, "ringback-callbacks")

    def drive(self) -> None:
        """Send the gathered calls; have the reader drive while fired calls are in flight."""
        assert self.core is not None
        self.start()
        self.core.flush()
        if not (self.driving or self._closed) and self._is_needed():
            self._rest = self.loop.gate()
            if not self._waits_to_rest:
                self.core.when_idle(self.rest)
                self._waits_to_rest = True
            self._start_reading()
            self.driving = True  # last: the lines before may raise if the caller's stack is full

    def rest(self) -> None:
        """No call is in flight."""
        self._waits_to_rest = False
        if self.driving:
            self._rest.open()

    def post_now(
        self, call: OutgoingCall | str, function: Callable[[Any], object], argument: Any
    ) -> None:
        """Queue the function, from any thread.
        It runs at once if the client is closed and its callbacks have ended."""
        self._callbacks.put([(call, function, argument)])
        if self._called_back:
            self._call_rest()

    def in_callback(self) -> bool:
        return self._caller is threading.current_thread()

    def close(self, timeout: float) -> None:
        """End both threads, after the last callback if it ends within `timeout` seconds.
        Call it without the lock."""
        with self.loop.lock:
            self._end()
        for thread in (self._reader, self._caller):
            if thread is not None and thread is not threading.current_thread():
                thread.join(timeout)
        self.loop.close()

    def give_up(self) -> None:
        """Give up the loop and its pending work; queued callbacks still run."""
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
        """In a forked child: neither thread exists, and no thread drives."""
        self._closed, self.driving = True, False
        self.posted.clear()
        self.loop.forked()

    def hand_over(self) -> None:
        """At the end of a turn, queue the callbacks that it posted.
        `call_soon` could leave them to a next turn, which no thread takes if this turn ended the
        last call."""
        if self.posted:
            posted, self.posted = self.posted, []
            self._callbacks.put(posted)

    def end_turn(self) -> None:
        """At the end of a turn in which fired calls ended.
        If none is left, the thread that waits for a reply must read."""
        self.hand_over()
        if self.driving and not self._is_needed():
            self._rest.open()

    def _is_needed(self) -> bool:
        """Whether fired calls are in flight or messages wait to be sent.
        (Newest first: usually the first check decides.)"""
        core = self.core
        if core is None:
            return False
        return not core.settled or not _FIRED.isdisjoint(map(type, reversed(core.calls.values())))

    def _read(self) -> None:
        loop = self.loop
        while True:
            asked = self._drive.acquire(timeout=IDLE_LOOK)
            if not self._closed:
                with suppress(Unavailable):  # a turn was cut and the loop was given up
                    if not asked:
                        loop.look()
                        continue
                    loop.wait(self._rest)
            # first: a firing thread checks this after adding to the gathered calls
            self.driving = False
            with suppress(Unavailable):
                loop.turn(self.drive)
            if self._closed:
                return

    def _call_back(self) -> None:
        while (entries := self._callbacks.get()) is not None:
            run_callbacks(entries)
            del entries  # the next wait may be long
        self._called_back = True
        # A poster that came after the last check either saw `_called_back`, or its entry is taken
        # here.
        self._call_rest()

    def _call_rest(self) -> None:
        with suppress(Empty):
            while True:
                run_callbacks(self._callbacks.get_nowait() or [])
