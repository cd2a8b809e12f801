"""Renews leases while they are in use.

One native thread renews all leases of a store, so that a busy loop or hub lets none run out.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import time
from collections.abc import Callable, Hashable
from queue import Empty

from ..backends import native
from ..logs.errorlog import log_error

log = logging.getLogger("ringback.state")


class Renewals:
    """The periodic renewals, by owner. The thread runs while there are any."""

    def __init__(self) -> None:
        self._due: list[tuple[float, int, Hashable]] = []
        self._known: dict[Hashable, tuple[int, Callable[[], float | None]]] = {}
        self._count = itertools.count()
        self._lock = native.allocate_lock()
        self._sooner: native.SimpleQueue[None] = native.SimpleQueue()
        self._running = False

    def add(self, owner: Hashable, seconds: float, renew: Callable[[], float | None]) -> None:
        """Call `renew` after that many seconds, and again after as many as it returns.

        Ends when `renew` returns None or the owner is removed.
        """
        with self._lock:
            number = next(self._count)
            self._known[owner] = (number, renew)
            heapq.heappush(self._due, (time.monotonic() + seconds, number, owner))
            if not self._running:
                self._running = True
                native.start_thread(self._run)
            elif self._due[0][1] == number:
                self._sooner.put(None)

    def remove(self, owner: Hashable) -> None:
        with self._lock:
            self._known.pop(owner, None)
            if len(self._due) > 2 * len(self._known) + 64:
                self._due = [each for each in self._due if self._current(each)]
                heapq.heapify(self._due)

    def close(self) -> None:
        with self._lock:
            self._known.clear()
            self._due.clear()
            self._sooner.put(None)

    def _current(self, entry: tuple[float, int, Hashable]) -> bool:
        known = self._known.get(entry[2])
        return known is not None and known[0] == entry[1]

    def _run(self) -> None:
        while True:
            with self._lock:
                while self._due and not self._current(self._due[0]):
                    heapq.heappop(self._due)
                if not self._due:
                    self._running = False
                    return
                when, number, owner = self._due[0]
                left = when - time.monotonic()
                if left <= 0:
                    heapq.heappop(self._due)
                    _, renew = self._known[owner]
            if left > 0:
                try:
                    self._sooner.get(timeout=left)
                except Empty:
                    pass
                continue
            try:
                again = renew()
            except Exception as error:  # one failure must not end the other renewals
                log_error(log, "lease renewal failed", error=error)
                again = None
            with self._lock:
                known = self._known.get(owner)
                if known is not None and known[0] == number:
                    if again is None:
                        del self._known[owner]
                    else:
                        heapq.heappush(self._due, (time.monotonic() + again, number, owner))
