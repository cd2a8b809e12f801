"""Deferred work of finalisers.
The garbage collector runs these in any thread, at any point, under any lock."""

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
    """Runs posted functions in order, in a native thread that ends when none is left."""

    def __init__(self) -> None:
        self._posted: deque[Callable[[], object]] = deque()
        self._running = False
        self._thread: Any = native.allocate_lock()  # held until the thread has ended
        forks.inherit(self)

    def post(self, function: Callable[..., object], *args: object) -> None:
        """Queue the function, unless the interpreter is exiting.
        Safe in a finaliser: takes no lock and never waits."""
        if sys.is_finalizing():  # threads no longer run
            return
        self._posted.append(partial(function, *args))
        # (a signal handler may have kept the thread from being started)
        if not self._running or not self._thread.locked():
            self._running = True
            with suppress(RuntimeError):  # no thread is available: the next call retries
                self._thread = native.start_thread(self._run)

    def forked(self) -> None:
        """In a forked child: the thread and the work are the parent's."""
        self._posted.clear()
        self._running = False

    def _run(self) -> None:
        while True:
            self._do_all()
            self._running = False
            # A caller that posted before this line saw a running thread.
            if not self._posted or self._running:
                return
            self._running = True

    def _do_all(self) -> None:
        while True:
            try:
                work = self._posted.popleft()
            except IndexError:  # another thread may take from it, too
                return
            try:
                work()
            except Exception as error:
                log_error(log, "deferred work of a finaliser failed", error=error)
