"""Cache invalidations across processes, as rows in the shared store that every process watches.

One native thread writes and watches, so that no handler and no loop waits for the store. Other
processes drop invalidated entries a moment later (at most `pauses.LATEST` after the store has the
row). If the store does not answer, the thread retries until it does.
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

# Prefix of the rows' keys. The service and the tag follow; the tag is empty if all is invalidated.
PREFIX = "ringback.invalidated/"

# Seconds after which a row expires, and after which a process that could not poll the store must
# assume that it missed rows.
SEEN, BLIND = 3600.0, 1800.0

# Seconds between two attempts while the store does not answer.
_AGAIN = 0.5


class Invalidations:
    """The invalidations of one service.

    `forget` is called with the tags that any process, including this one, has invalidated; no tags
    means all. A process also receives its own invalidations, because a row may merge them with an
    earlier one of another process for the same tag.

    Nothing is written or received before `start`. `close` writes what is still queued. `told_to` is
    the store to write to, if it differs from the watched one: a replica writes to the store that it
    follows.
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
        """Start to receive invalidations. Raises Unavailable if the store does not answer."""
        since = self._state.version()
        self._running = native.start_thread(lambda: self._run(since))

    def tell(self, tags: tuple[str, ...]) -> None:
        """Queue an invalidation for all processes. Thread-safe; does not wait."""
        self._told.put(tags)

    def close(self) -> None:
        """Write the queued invalidations, if the store answers, and stop watching.

        Call it before the store is closed.
        """
        self._closing = True
        self._told.put(None)
        while self._running is not None and self._running.locked():
            time.sleep(0.001)

    def _run(self, since: int) -> None:
        left: set[str] = set()
        looked, pause = time.monotonic(), LATEST
        while True:
            left.update(self._gathered(pause))
            closing = self._closing  # read before the queue is emptied for the last time
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
                        log.error("invalidation not sent to other processes: %s", error)
                if closing:
                    return
                if time.monotonic() - looked > BLIND:
                    self._forget(())
                since = self._heard(since)
            except errors.Unavailable as error:
                if closing:
                    log.warning("invalidations not sent to other processes: %s", error)
                    return
                pause = _AGAIN
            else:
                looked, pause = time.monotonic(), LATEST

    def _gathered(self, seconds: float) -> set[str]:
        """The queued tags as key suffixes. Waits up to `seconds` if the queue is empty."""
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
        """Drop the entries invalidated after version `since`. Returns the version reached."""
        found, reached = self._state.changes_up_to(self._prefix, since)
        for change in found:
            if not change.deleted:
                tag = change.key[len(self._prefix) :]
                self._forget((tag,) if tag else ())
        return reached
