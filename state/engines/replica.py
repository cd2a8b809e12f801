"""The engine of a replica: all data of another store in memory, as of the last poll.

One native thread polls, so that reads never wait for the store. The changes of a poll become
visible together, up to one moment of the store, so a commit is never visible in part. A row expires
when the store's clock at the last poll has passed its time. The local clock would expire rows whose
renewal has not been seen yet.
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

# Prefix of the rows that a replica follows: data. Locks and keys belong to the primary.
DATA = "d:"

# Seconds without an answer of the store after which a replica fails to start.
START = 5.0
# Timeout of one poll in seconds, and the maximum changes of one of its steps.
_PATIENCE, _AT_ONCE = 2.0, 1000
# Seconds between polls: after a change or while a call waits, and after a failed poll.
_NEXT, _AGAIN = 0.005, 0.2
# Seconds without a poll after which the store's clock is assumed to advance. Rows with a time to
# live must not outlive it for long.
_STILL = 1.0
# Seconds between two removals of expired rows.
_SWEPT = 10.0


class ReplicaEngine(Engine):
    """Follows `source`, which it does not close. It is empty until `start` has called back."""

    blocks_thread = False

    def __init__(self, source: Engine) -> None:
        self.one_machine = source.one_machine
        self._source = source
        self._rows = Rows()
        self._now = 0.0  # the store's clock at the last poll
        self._looked = 0.0  # the local clock at the last poll
        self._swept = 0.0
        self._lock = native.allocate_lock()  # held only while `_rows` is read or changed
        self._waiting: dict[int, tuple[int, Callable[[], object]]] = {}
        self._numbers = itertools.count()
        self._wake: native.SimpleQueue[None] = native.SimpleQueue()
        self._away = False
        self._closing = False
        self._running: Any = None

    def start(self, ready: Callable[[BaseException | None], object]) -> None:
        """Start to follow the source.

        Calls `ready` in another thread once all data has been read, or with an error: Unavailable
        if the store does not answer.
        """
        self._running = native.start_thread(lambda: self._run(ready))

    def when_reached(self, version: int, function: Callable[[], object]) -> int:
        """Call the function once, in any thread, when that version is reached.

        Returns a number for `call_off`.
        """
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
        """Cancel a pending `when_reached`. Does nothing if it has already been called."""
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
        """Check that the rows are unchanged, for transactions that only read.

        Returns the revision up to which that is known. Raises FailedPrecondition for writes.
        """
        if writes:
            raise errors.FailedPrecondition(
                "this server is a replica, which only reads: call the primary to change data"
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
        """Stop following. Call it before the source is closed."""
        self._closing = True
        self._wake.put(None)
        while self._running is not None and self._running.locked():
            time.sleep(0.001)

    def _clock(self) -> float:
        """The store's clock, estimated."""
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
            except Exception as failure:  # after any failure, the data can still be read
                if not self._away and not self._closing:
                    log.warning(
                        "replica store does not answer, serving version %d: %s",
                        self.reached,
                        failure,
                    )
                self._away, pause = True, _AGAIN
            else:
                if self._away:
                    log.info("replica store answers again, at version %d", self.reached)
                self._away = False
                pause = _NEXT if changed or self._waiting else min(pause * 1.5, LATEST)

    def _load(self) -> Exception | None:
        """Read all data. Returns the error that prevents it, after `START` seconds without an
        answer."""
        end = time.monotonic() + START
        while True:
            try:
                self._look(anew=True)
            except Exception as error:
                if (
                    self._closing
                    or time.monotonic() > end
                    or not isinstance(error, errors.Unavailable)
                ):
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
        """Apply all changes, or with `anew` read all data, at once. Returns whether anything
        changed."""
        found: list[Change] = []
        reached = 0 if anew else self.reached
        while True:
            step, reached, now = self._source.changes(DATA, reached, _AT_ONCE, _PATIENCE)
            if not anew and now - self._now > REMEMBERED / 2:
                return self._look(
                    anew=True
                )  # this process was suspended for long, so removals may be missing
            found += step
            if len(step) < _AT_ONCE or self._closing:
                break
        rows = Rows(found) if anew else None
        with self._lock:
            if rows is not None:
                self._rows = rows
            else:
                self._rows.apply(found)
            # A store restored without its newest commits continues with higher revisions.
            self.reached = max(self.reached, reached)
            self._now, self._looked = now, time.monotonic()
            if self._looked - self._swept > _SWEPT:
                self._swept = self._looked
                self._rows.sweep(now)
            there = [
                number for number, (version, _) in self._waiting.items() if version <= self.reached
            ]
            functions = [self._waiting.pop(number)[1] for number in there]
        for function in functions:
            function()
        return bool(found)
