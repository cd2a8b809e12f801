"""Work that comes up where it must not be done: in a finaliser. The collector runs those in any thread, at any point, under any lock."""

from __future__ import annotations

import logging
import sys
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from ...backends import native
from ...logs.errorlog import log_error
from ...runtime import forks

log = logging.getLogger("ringback.client")


class Errands:
    """Does what is posted, in order, in a native thread that ends when nothing is left."""

    def __init__(self) -> None:
        self._posted: deque[Callable[[], object]] = deque()
        self._running = False
        self._thread: Any = native.allocate_lock()  # what it holds until it has ended
        forks.inherit(self)

    def post(self, function: Callable[..., object], *args: object) -> None:
        """Have the function called, unless the interpreter ends. It takes no lock and does not wait: it may be called from a finaliser."""
        if sys.is_finalizing():  # no thread runs any more
            return
        self._posted.append(partial(function, *args))
        if (
            not self._running or not self._thread.locked()
        ):  # the handler of a signal may have kept it from being started
            self._running = True
            with suppress(RuntimeError):  # there are no more threads: the next call tries again
                self._thread = native.start_thread(self._run)

    def forked(self) -> None:
        """In a child: the thread is the parent's, and so is the work."""
        self._posted.clear()
        self._running = False

    def _run(self) -> None:
        while True:
            self._do_all()
            self._running = False
            # Who posted before this has seen a thread that runs.
            if not self._posted or self._running:
                return
            self._running = True

    def _do_all(self) -> None:
        while True:
            try:
                work = self._posted.popleft()
            except IndexError:  # (another thread may be at it, too)
                return
            try:
                work()
            except Exception as error:
                log_error(log, "what a finaliser has left to be done failed", error=error)
