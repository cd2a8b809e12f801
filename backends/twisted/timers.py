"""Timers of the monotonic clock on one Linux timerfd.

They serve an event loop whose own timers follow the wall clock, which can be set.
"""

from __future__ import annotations

import ctypes
import errno
import heapq
import itertools
import os
import sys
import time
from collections.abc import Callable
from typing import Any

from ...runtime import forks
from ..base import Handle

# Constants of <sys/timerfd.h> and <time.h>.
_MONOTONIC, _NONBLOCK, _CLOEXEC = 1, os.O_NONBLOCK, os.O_CLOEXEC

# The heap is swept when it has more than twice the active timers plus this number.
_SWEEP = 64

# Longest timer in seconds; more would not fit.
_LONGEST = 1e9


class _Spec(ctypes.Structure):
    """struct itimerspec."""

    _fields_ = (
        ("again_seconds", ctypes.c_long),
        ("again_nanoseconds", ctypes.c_long),
        ("seconds", ctypes.c_long),
        ("nanoseconds", ctypes.c_long),
    )


def _create() -> int:
    """A descriptor that becomes readable at the time set. Raises OSError if there is no timerfd."""
    if sys.platform != "linux":
        raise OSError(errno.ENOSYS, "there is no timerfd")
    fd: int = _libc.timerfd_create(_MONOTONIC, _NONBLOCK | _CLOEXEC)
    if fd < 0:
        raise OSError(ctypes.get_errno(), "timerfd_create failed")
    return fd


def _set(fd: int, seconds: float) -> None:
    nanoseconds = max(1, int(min(seconds, _LONGEST) * 1e9))  # 0 would mean never
    spec = _Spec(0, 0, *divmod(nanoseconds, 1_000_000_000))
    if _libc.timerfd_settime(fd, 0, ctypes.byref(spec), None) < 0:
        raise OSError(ctypes.get_errno(), "timerfd_settime failed")


_libc: Any = ctypes.CDLL(None, use_errno=True)


class _Timer:
    __slots__ = ("_timers", "args", "due", "work")

    def __init__(
        self, timers: Timers, due: float, function: Callable[..., object], args: tuple[Any, ...]
    ) -> None:
        self._timers = timers
        self.due = due
        self.work: Callable[..., object] | None = function
        self.args = args

    def cancel(self) -> None:
        if self.work is not None:
            self.work, self.args = None, ()
            self._timers.ended()

    def run(self) -> None:
        work, args = self.work, self.args
        if work is not None:
            self.work, self.args = None, ()
            try:
                work(*args)
            finally:
                self._timers.ended()  # last, as `work` has mostly begun another timer


class Timers:
    """The timers of one loop. The descriptor is watched while a timer is active, then closed."""

    def __init__(
        self, watch: Callable[[int, Callable[[], object]], Handle], call_soon: Callable[..., object]
    ) -> None:
        self._watch = watch
        self._call_soon = call_soon
        self._heap: list[tuple[float, int, _Timer]] = []
        self._count = itertools.count()
        self._active = 0
        self._fd = -1
        self._watched: Handle | None = None
        self._generation = forks.generation

    def call_later(self, seconds: float, function: Callable[..., object], *args: Any) -> Handle:
        """Start a timer. Raises OSError if no timerfd can be had."""
        if self._generation != forks.generation:
            # The descriptor belongs to the parent: setting it would change the parent's timers.
            self._generation = forks.generation
            self._heap, self._active, self._fd, self._watched = [], 0, -1, None
        if self._fd < 0:
            self._fd = _create()
            self._watched = self._watch(self._fd, self._ring)
        timer = _Timer(self, time.monotonic() + seconds, function, args)
        self._active += 1
        heapq.heappush(self._heap, (timer.due, next(self._count), timer))
        if self._heap[0][2] is timer:
            _set(self._fd, seconds)
        return timer

    def ended(self) -> None:
        """A timer was called or cancelled."""
        if self._generation != forks.generation:
            return  # ending the watch would end the parent's too
        self._active -= 1
        if not self._active:
            assert self._watched is not None
            self._heap.clear()
            self._watched.cancel()
            os.close(self._fd)
            self._fd, self._watched = -1, None
        elif len(self._heap) > 2 * self._active + _SWEEP:
            self._heap = [entry for entry in self._heap if entry[2].work is not None]
            heapq.heapify(self._heap)

    def _ring(self) -> None:
        """Queue the due timers on the loop, which handles their exceptions."""
        heap, now = self._heap, time.monotonic()
        while heap and (heap[0][0] <= now or heap[0][2].work is None):
            timer = heapq.heappop(heap)[2]
            if timer.work is not None:
                self._call_soon(timer.run)
        # Setting the descriptor makes it unreadable again. If no timer is left in the heap, set the
        # longest time.
        _set(self._fd, heap[0][0] - now if heap else _LONGEST)
