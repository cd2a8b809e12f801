"""The engine of a replica: all data of another store in memory, as it was at the last look.

One native thread looks, so that who reads never waits for the store. What it finds is seen at once or not at all, up to a moment of the
store's: so nothing that was committed together is ever seen in part, and a row is gone when the store's clock has passed its time at the
last look, not when a clock here has: a renewal that has not been seen yet would be overtaken by it.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from math import inf
from queue import Empty
from typing import Any

from ... import errors
from ...backends import native
from ..pauses import LATEST
from .base import REMEMBERED, Change, Changes, Engine, Snapshot, Write
from .rows import Rows

log = logging.getLogger("ringback.state")

# The rows that are followed: data. Locks and keys are the primary's.
DATA = "d:"

# Seconds for which the store may be silent before a replica gives up its start.
START = 5.0
# Seconds that one look may take, and changes that one step of it takes.
_PATIENCE, _AT_ONCE = 2.0, 1000
# Seconds from one look to the next: after a change or while somebody waits, and from one try to the next where the store does not answer.
_NEXT, _AGAIN = 0.005, 0.2
# Seconds without a look after which the store's clock is taken to go on all the same: what has a time to live must not outlive it for long.
_STILL = 1.0
# Seconds from one removal of what has expired to the next.
_SWEPT = 10.0


class ReplicaEngine(Engine):
    """Follows `source`, which it does not close. Until `start` has called back, there is nothing in it."""

    blocks_thread = False

    def __init__(self, source: Engine) -> None:
        self.one_machine = source.one_machine
        self._source = source
        self._rows = Rows()
        self._now = 0.0  # by the store's clock, at the last look
        self._looked = 0.0  # when that was, by ours
        self._swept = 0.0
        self._lock = native.allocate_lock()  # held for as long as it takes to read or change `_rows`
        self._waiting: dict[int, tuple[int, Callable[[], object]]] = {}
        self._numbers = itertools.count()
        self._wake: native.SimpleQueue[None] = native.SimpleQueue()
        self._away = False
        self._closing = False
        self._running: Any = None

    def start(self, ready: Callable[[BaseException | None], object]) -> None:
        """Begin to follow. `ready` is called, in another thread, when all that there is has been read, or with Unavailable where the store
        does not answer."""
        self._running = native.start_thread(lambda: self._run(ready))

    def when_reached(self, version: int, function: Callable[[], object]) -> int:
        """Call the function once, in whatever thread, when that version is reached. Returns the number by which it can be called off."""
        number = next(self._numbers)
        with self._lock:
            waits = self.reached < version
            if waits:
                self._waiting[number] = (version, function)
                if len(self._waiting) == 1:
                    self._wake.put(None)
        if not waits:
            function()
        return number

    def call_off(self, number: int) -> None:
        """Nobody waits any more, if anybody does."""
        with self._lock:
            self._waiting.pop(number, None)

    def read(self, names: Sequence[str], timeout: float) -> Snapshot:  # noqa: ARG002 - it never waits
        with self._lock:
            now = self._clock()
            return Snapshot([self._rows.find(name, now) for name in names], now)

    def commit(
        self,
        checks: Mapping[str, int],
        writes: Mapping[str, Write],
        timeout: float,  # noqa: ARG002
        *,
        before: float = inf,
    ) -> int:
        """What only reads may ask whether that still stands; the revision is then the one up to which that is known."""
        if writes:
            raise errors.FailedPrecondition(
                "this is a replica: it only reads, what changes data is for the primary"
            )
        with self._lock:
            self._rows.check(checks, self._clock(), before)
            return self.reached

    def changes(self, prefix: str, since: int, limit: int, timeout: float) -> Changes:  # noqa: ARG002
        with self._lock:
            return self._rows.changes(prefix, since, limit, self._clock(), self.reached)

    def revision(self, timeout: float) -> int:  # noqa: ARG002
        return self.reached

    def close(self) -> None:
        """Follow no more. To be called before the source is closed."""
        self._closing = True
        self._wake.put(None)
        while self._running is not None and self._running.locked():
            time.sleep(0.001)

    def _clock(self) -> float:
        """The store's, as far as is known."""
        return self._now + max(0.0, time.monotonic() - self._looked - _STILL)

    # In the thread

    def _run(self, ready: Callable[[BaseException | None], object]) -> None:
        error = self._load()
        ready(error)
        pause = _NEXT
        while error is None and not self._closing:
            self._rest(pause)
            try:
                changed = self._look(anew=self._away)
            except Exception as failure:  # whatever it is: what is there can be read
                if not self._away and not self._closing:
                    log.warning(
                        "a replica goes on with version %d, its store does not answer: %s",
                        self.reached,
                        failure,
                    )
                self._away, pause = True, _AGAIN
            else:
                if self._away:
                    log.info("a replica follows its store again, up to version %d", self.reached)
                self._away = False
                pause = _NEXT if changed or self._waiting else min(pause * 1.5, LATEST)

    def _load(self) -> Exception | None:
        """Read everything; what keeps it from that, where the store has been silent for long."""
        end = time.monotonic() + START
        while True:
            try:
                self._look(anew=True)
            except Exception as error:
                if self._closing or time.monotonic() > end or not isinstance(error, errors.Unavailable):
                    return error
                self._rest(_AGAIN)
            else:
                return None

    def _rest(self, seconds: float) -> None:
        try:
            self._wake.get(timeout=seconds)
        except Empty:
            pass

    def _look(self, *, anew: bool) -> bool:
        """Take all that has changed, or all that there is; only then is any of it seen. Whether there was anything."""
        found: list[Change] = []
        reached = 0 if anew else self.reached
        while True:
            step, reached, now = self._source.changes(DATA, reached, _AT_ONCE, _PATIENCE)
            if not anew and now - self._now > REMEMBERED / 2:
                return self._look(anew=True)  # this process was stopped for long: removals may be forgotten
            found += step
            if len(step) < _AT_ONCE or self._closing:
                break
        rows = Rows(found) if anew else None
        with self._lock:
            if rows is not None:
                self._rows = rows
            else:
                self._rows.apply(found)
            # (a store that came back without its newest commits gives higher revisions from then on)
            self.reached = max(self.reached, reached)
            self._now, self._looked = now, time.monotonic()
            if self._looked - self._swept > _SWEPT:
                self._swept = self._looked
                self._rows.sweep(now)
            there = [number for number, (version, _) in self._waiting.items() if version <= self.reached]
            functions = [self._waiting.pop(number)[1] for number in there]
        for function in functions:
            function()
        return bool(found)
