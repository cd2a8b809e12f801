"""Where a client learns which endpoints a service has, whatever tells it: one native thread looks, now and then and when it is asked to.

A list is never given up for an empty one: who cannot be asked, or knows of none, may be wrong; the servers that were known may be there.
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

# Seconds from one look to the next, at least, where somebody asks for it.
SELDOM = 1.0


class Source(ABC):
    """Where a client learns which endpoints a service has; it looks in a native thread of its own.

    `reason` tells why nothing is known yet, for an error's text. `place` is how people know it.
    """

    def __init__(self, place: str, pause: float, reason: str) -> None:
        self.place = place
        self.reason = reason
        self._pause = pause
        self._known: list[str] = []
        self._asked: native.SimpleQueue[None] = native.SimpleQueue()
        self._waiting = False  # whether a look was asked for that has not begun
        self._away = False
        self._closing = False
        self._running: Any = None

    def start(self, changed: Callable[[list[str]], object]) -> None:
        """Call `changed(endpoints)` in that thread as soon as the list is known, and each time that it differs; with none, only where the
        first look found none: who does not want to wait need not."""
        self._running = native.start_thread(lambda: self._run(changed))

    def look(self) -> None:
        """Look again soon, as a connection was lost; from any thread, and as often as one likes."""
        if not self._waiting:
            self._waiting = True
            self._asked.put(None)

    def close(self) -> None:
        """No further call of `changed` is begun; from any thread, and without waiting."""
        self._closing = True
        if self._running is None:
            self._let_go()
        self._asked.put(None)

    @abstractmethod
    def _find(self) -> list[str]:
        """The endpoints as they are now, sorted, each once. Raises Unavailable, or returns none, where they are not to be had; with what
        `reason` is then to be."""

    @abstractmethod
    def _none(self) -> str:
        """What it means that nothing was found."""

    def _let_go(self) -> None:  # noqa: B027 - there may be nothing
        """Of what the thread has used; nobody looks any more."""

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
                # Who knows of none has somebody waiting.
                self._rest(begun, self._pause if self._known else min(self._pause, SELDOM))
        finally:
            self._let_go()

    def _found(self) -> list[str]:
        """What was found; an outage is told once, and its end."""
        try:
            found = self._find()
            trouble = "" if found else self._none()
        except errors.Unavailable as error:
            found, trouble = [], error.message.rstrip(".")
        if found:
            self.reason = ""
            if self._away:
                log.info("%s: servers are known again: %d", self.place, len(found))
        else:
            self.reason = trouble
            if not self._away:
                log.warning("%s: %s; %s", self.place, trouble, self._meanwhile())
        self._away = not found
        return found

    def _meanwhile(self) -> str:
        return (
            f"the {len(self._known)} last known stay" if self._known else "looking again until there is one"
        )

    def _rest(self, begun: float, seconds: float) -> None:
        """Until the next look is due: less where one is asked for, but not much."""
        due = begun + seconds
        while not self._closing and (left := due - time.monotonic()) > 0:
            try:
                self._asked.get(timeout=left)
            except Empty:
                return
            due = min(due, begun + SELDOM)
