"""Detects a blocked event loop, and logs the method that blocks it.

A thread schedules a callback on the loop; if it does not run within 100 ms, the stack of the loop's
thread shows the method that is running. Calls pay nothing for it. A loop that only waits for the
interpreter lock runs no method, and is not reported.
"""

from __future__ import annotations

import logging
import sys
import time
from types import FrameType

from ...backends import native
from ...backends.base import Loop
from ...metrics.recorder import Histogram
from ..declare.service import Service

log = logging.getLogger("ringback.server")

# Seconds without a callback after which a loop counts as blocked.
BLOCKED = 0.1


class Watchdog:
    """Watches the event loop of the thread that creates it, until closed."""

    def __init__(self, loop: Loop, service: Service, lag: Histogram | None = None) -> None:
        """`lag`: histogram for the delays of the callback, in seconds."""
        self._loop = loop
        self.lag = lag
        self._asked = 0.0
        self._methods = {m.code: name for name, m in service.methods.items() if m.code is not None}
        self._thread = native.get_ident()
        self._alive = True
        self._end = native.allocate_lock()
        self._end.acquire()
        native.start_thread(self._watch)

    def close(self) -> None:
        if self._end.locked():
            self._end.release()

    def _sign(self) -> None:
        self._alive = True
        if self.lag is not None:
            self.lag.add(time.monotonic() - self._asked)

    def _watch(self) -> None:
        reported = False
        while not self._end.acquire(timeout=BLOCKED / 2):
            now = time.monotonic()
            if self._alive:
                self._alive, reported, self._asked = False, False, now
                try:
                    self._loop.call_soon_threadsafe(self._sign)
                except RuntimeError:  # the loop is closed
                    return
            elif not reported and now - self._asked > BLOCKED:
                method = self._culprit(sys._current_frames().get(self._thread))
                if method is not None:
                    reported = True
                    log.warning(
                        "%s has blocked the event loop for over %d ms: let it run in a worker, or "
                        "let it yield",
                        method,
                        BLOCKED * 1000,
                    )

    def _culprit(self, frame: FrameType | None) -> str | None:
        """The method whose code is on the stack."""
        while frame is not None:
            name = self._methods.get(frame.f_code)
            if name is not None:
                return name
            frame = frame.f_back
        return None
