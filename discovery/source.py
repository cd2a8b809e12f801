"""A source of a service's endpoints: one native thread checks it regularly and on request.

An empty result never replaces a list of servers: the source may fail or be wrong while the known
servers run on.
"""

from __future__ import annotations

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from queue import Empty
from typing import Any

from .. import errors
from ..backends import native

log = logging.getLogger("ringback.discovery")

# Minimum seconds between two checks on request.
SELDOM = 1.0


class Source(ABC):
    """A source of a service's endpoints, checked in its own native thread.

    `reason` explains in errors why no server is known. `place` is its name for people.
    """

    def __init__(self, place: str, pause: float, reason: str) -> None:
        self.place = place
        self.reason = reason
        self._pause = pause
        self._known: list[str] = []
        self._asked: native.SimpleQueue[None] = native.SimpleQueue()
        self._waiting = False  # whether a requested check has not begun
        self._away = False
        self._closing = False
        self._running: Any = None

    def start(self, changed: Callable[[list[str]], object]) -> None:
        """Call `changed(endpoints)` in the thread once the list is known, and at each change.
        It gets an empty list only if the first check found none, so that callers that do not want
        to wait can go on."""
        self._running = native.start_thread(lambda: self._run(changed))

    def look(self) -> None:
        """Check again soon, as a connection was lost.
        Any thread may call it, any number of times."""
        if not self._waiting:
            self._waiting = True
            self._asked.put(None)

    def close(self) -> None:
        """Start no further call of `changed`. Any thread may call it; it does not wait."""
        self._closing = True
        if self._running is None:
            self._let_go()
        self._asked.put(None)

    @abstractmethod
    def _find(self) -> list[str]:
        """The present endpoints, sorted and unique.
        Returns none or raises Unavailable, with the next `reason`, if they cannot be found."""

    @abstractmethod
    def _none(self) -> str:
        """The reason if no server was found."""

    def _let_go(self) -> None:  # noqa: B027 - there may be nothing
        """Free the thread's resources; no more checks follow."""

    def _run(self, changed: Callable[[list[str]], object]) -> None:
        first = True
        try:
            while not self._closing:
                self._waiting = False
                begun = time.monotonic()
                found = self._found()
                if ((found and found != self._known) or first) and not self._closing:
                    self._known = found
                    changed(list(found))
                first = False
                # Without servers, a caller may be waiting.
                self._rest(begun, self._pause if self._known else min(self._pause, SELDOM))
        finally:
            self._let_go()

    def _found(self) -> list[str]:
        """Find the endpoints. Logs the start and the end of an outage once."""
        try:
            found = self._find()
            trouble = "" if found else self._none()
        except errors.Unavailable as error:
            found, trouble = [], error.message.rstrip(".")
        if found:
            self.reason = ""
            if self._away:
                log.info("%s: servers known again: %d", self.place, len(found))
        else:
            self.reason = trouble
            if not self._away:
                log.warning("%s: %s; %s", self.place, trouble, self._meanwhile())
        self._away = not found
        return found

    def _meanwhile(self) -> str:
        return (
            f"keeping the last {len(self._known)} known"
            if self._known
            else "retrying until there is one"
        )

    def _rest(self, begun: float, seconds: float) -> None:
        """Wait until the next check is due.
        A request brings it forward to SELDOM seconds after the last."""
        due = begun + seconds
        while not self._closing and (left := due - time.monotonic()) > 0:
            try:
                self._asked.get(timeout=left)
            except Empty:
                return
            due = min(due, begun + SELDOM)
