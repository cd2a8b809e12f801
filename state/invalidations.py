"""Invalidations that reach every process: each is a row in the store that all of them share, and all watch these rows.

One native thread writes and watches, so that no handler and no loop waits for the store. What one process invalidates, the others have
dropped a moment later (`pauses.LATEST` after the store has it); a store that does not answer is asked until it does.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from queue import Empty
from typing import Any

from .. import errors
from ..backends import native
from .pauses import LATEST
from .store import State

log = logging.getLogger("ringback.state")

# Where the rows are: behind it the service, then the tag, which is empty where all is invalidated.
PREFIX = "ringback.invalidated/"

# Seconds for which a row is there to be seen, and after which a process that could not look has to assume that it has missed some.
SEEN, BLIND = 3600.0, 1800.0

# Seconds from one try to the next, where the store does not answer.
_AGAIN = 0.5


class Invalidations:
    """Those of one service. `forget` is called with the tags that somebody, perhaps this process, has invalidated; none means all.

    It hears of its own again: somebody else's of the same tag, a moment before, may have been told as one with it. Until `start`,
    nothing is written and nothing is heard; `close` writes what is left to be written. `told_to` is where it is written, if not there
    where it is heard: the store that a replica follows.
    """

    def __init__(
        self,
        state: State,
        service: str,
        forget: Callable[[tuple[str, ...]], object],
        *,
        told_to: State | None = None,
    ) -> None:
        self._state = state
        self._told_to = told_to or state
        self._prefix = f"{PREFIX}{service}/"
        self._forget = forget
        self._told: native.SimpleQueue[tuple[str, ...] | None] = native.SimpleQueue()
        self._closing = False
        self._running: Any = None

    def start(self) -> None:
        """From here on, what others invalidate is dropped here too. Raises Unavailable where the store does not answer."""
        since = self._state.version()
        self._running = native.start_thread(lambda: self._run(since))

    def tell(self, tags: tuple[str, ...]) -> None:
        """Let all know, from any thread; it does not wait."""
        self._told.put(tags)

    def close(self) -> None:
        """Write what is left, if the store answers, and watch no more. To be called before the store is closed."""
        self._closing = True
        self._told.put(None)
        while self._running is not None and self._running.locked():
            time.sleep(0.001)

    def _run(self, since: int) -> None:
        left: set[str] = set()
        looked, pause = time.monotonic(), LATEST
        while True:
            left.update(self._gathered(pause))
            closing = self._closing  # before the last look at what is to be written
            left.update(self._gathered(0.0))
            try:
                while left:
                    tag = next(iter(left))
                    left.discard(tag)
                    try:
                        self._told_to.put(self._prefix + tag, None, ttl=SEEN)
                    except errors.Unavailable:
                        left.add(tag)
                        raise
                    except errors.CallError as error:
                        log.error("an invalidation was not told to others: %s", error)
                if closing:
                    return
                if time.monotonic() - looked > BLIND:
                    self._forget(())
                since = self._heard(since)
            except errors.Unavailable as error:
                if closing:
                    log.warning("invalidations were not told to others: %s", error)
                    return
                pause = _AGAIN
            else:
                looked, pause = time.monotonic(), LATEST

    def _gathered(self, seconds: float) -> set[str]:
        """What is to be told, as names of rows; waits for so long, if there is nothing."""
        found: set[str] = set()
        try:
            while True:
                tags = self._told.get(timeout=seconds) if seconds else self._told.get_nowait()
                seconds = 0.0
                if tags is not None:
                    found.update(tags or ("",))
        except Empty:
            return found

    def _heard(self, since: int) -> int:
        """Drop what others have invalidated after that version; returns the version up to which that is done."""
        found, reached = self._state.changes_up_to(self._prefix, since)
        for change in found:
            if not change.deleted:
                tag = change.key[len(self._prefix) :]
                self._forget((tag,) if tag else ())
        return reached
