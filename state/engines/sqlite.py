"""The embedded engine: one SQLite file, safe for all threads and processes of one machine.

It uses WAL, and by default `synchronous=FULL`: a commit that has returned is on the disk. Threads
that arrive while another one commits are committed together, in one SQLite transaction, by the next
holder of the lock. One wait for the disk then serves all of them.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import closing
from math import inf
from pathlib import Path
from typing import Any

from ...backends import native
from ...errors import Unavailable, UsageError
from .base import (
    REMEMBERED,
    Change,
    Changes,
    Conflict,
    Engine,
    Missing,
    Row,
    Snapshot,
    TooLate,
    Write,
)

_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS rows (
    name TEXT PRIMARY KEY, value BLOB, revision INTEGER NOT NULL, expires REAL
);
CREATE INDEX IF NOT EXISTS rows_by_revision ON rows (revision);
CREATE INDEX IF NOT EXISTS rows_by_expiry ON rows (expires) WHERE expires IS NOT NULL;
"""
_READ_MANY = (
    "SELECT name, value, revision FROM rows WHERE name IN ({}) AND value IS NOT NULL AND (expires "
    "IS NULL OR expires > ?)"
)
_READ = (
    "SELECT value, revision FROM rows WHERE name = ? AND value IS NOT NULL AND (expires IS NULL "
    "OR expires > ?)"
)
_WRITE = "INSERT OR REPLACE INTO rows (name, value, revision, expires) VALUES (?, ?, ?, ?)"
_SET = "INSERT OR REPLACE INTO meta (name, value) VALUES (?, ?)"
_GET = "SELECT value FROM meta WHERE name = ?"
# Compared as bytes: for text, substr stops at the first NUL.
_CHANGED = (
    "SELECT name, value, revision, expires FROM rows WHERE revision BETWEEN ? AND ? AND "
    "substr(CAST(name AS BLOB), 1, ?) = ? "
    "AND (value IS NULL OR expires IS NULL OR expires > ?) ORDER BY revision LIMIT ?"
)
_NEWEST = 2**63 - 1
_PURGE = "DELETE FROM rows WHERE rowid IN (SELECT rowid FROM rows WHERE expires <= ? LIMIT ?)"

# Rows that this process writes between two purges of expired rows. A purge removes at most twice as
# many.
_PURGE_EVERY = 256

_BOOT = Path("/proc/sys/kernel/random/boot_id")


class _Job:
    """A commit that waits for its turn, and its outcome."""

    __slots__ = ("before", "checks", "error", "revision", "writes")

    def __init__(
        self, checks: Mapping[str, int], writes: Mapping[str, Write], before: float
    ) -> None:
        self.checks = checks
        self.writes = writes
        self.before = before
        self.revision: int | None = None
        self.error: Exception | None = None


class SqliteEngine(Engine):
    """A store in one SQLite file.

    `synchronous` is "full", or "normal", which survives a process's death but not a power failure.
    With `create=False`, raises Missing for a missing store.
    """

    blocks_thread = True
    one_machine = True

    def __init__(self, path: str, *, synchronous: str = "full", create: bool = True) -> None:
        if synchronous not in ("full", "normal"):
            raise UsageError(f"synchronous must be full or normal, not {synchronous!r}")
        self.path = path
        self._pending: deque[_Job] = deque()
        self._writing = native.allocate_lock()
        self._reading = native.allocate_lock()
        self._written = 0
        try:
            if not create:
                _check_there(path)
            self._writer = self._connect(synchronous)
            self._reader = self._connect(synchronous)
            self._offset = self._prepare()
        except sqlite3.Error as error:
            raise UsageError(f"cannot open the state store {path}: {error}") from None

    def read(self, names: Sequence[str], timeout: float) -> Snapshot:
        if not self._reading.acquire(timeout=timeout):
            raise self._slow(timeout, started=False)
        try:
            reader, now = self._reader, self._now()
            if len(names) == 1:
                return Snapshot([_row(reader.execute(_READ, (names[0], now)).fetchone())], now)
            # One statement is one moment. It is also quicker where other threads need the
            # interpreter.
            found = reader.execute(
                _READ_MANY.format(", ".join("?" * len(names))), (*names, now)
            ).fetchall()
            rows = {name: Row(value, revision) for name, value, revision in found}
            return Snapshot([rows.get(name) for name in names], now)
        except sqlite3.Error as error:
            raise self._failed(error, started=False) from None
        finally:
            self._reading.release()

    def commit(
        self,
        checks: Mapping[str, int],
        writes: Mapping[str, Write],
        timeout: float,
        *,
        before: float = inf,
    ) -> int:
        job = _Job(checks, writes, before)
        end = time.monotonic() + timeout
        self._pending.append(job)
        if not self._writing.acquire(timeout=timeout):
            try:
                self._pending.remove(job)
            except ValueError:  # another thread is committing it
                raise self._slow(timeout, started=None) from None
            raise self._slow(timeout, started=False)
        try:
            if job.revision is None and job.error is None:
                self._commit_pending(job, end - time.monotonic())
        finally:
            self._writing.release()
        if job.error is not None:
            raise job.error
        assert job.revision is not None
        return job.revision

    def changes(self, prefix: str, since: int, limit: int, timeout: float) -> Changes:
        if not self._reading.acquire(timeout=timeout):
            raise self._slow(timeout, started=False)
        try:
            start, now = prefix.encode(), self._now()
            newest = int(
                _meta(self._reader, "revision", 0)
            )  # read first: later commits may be among the rows found

            def look(first: int, last: int, most: int) -> list[Change]:
                found = self._reader.execute(_CHANGED, (first, last, len(start), start, now, most))
                return [Change(*row) for row in found]

            found = look(since + 1, _NEWEST, limit)
            if len(found) < limit:
                return Changes(found, max(since, newest, found[-1].revision if found else 0), now)
            last = found[-1].revision
            found = [each for each in found if each.revision < last]
            return Changes(found + look(last, last, -1), last, now)
        except sqlite3.Error as error:
            raise self._failed(error, started=False) from None
        finally:
            self._reading.release()

    def revision(self, timeout: float) -> int:
        if not self._reading.acquire(timeout=timeout):
            raise self._slow(timeout, started=False)
        try:
            return int(_meta(self._reader, "revision", 0))
        except sqlite3.Error as error:
            raise self._failed(error, started=False) from None
        finally:
            self._reading.release()

    def close(self) -> None:
        with self._writing, self._reading:
            self._writer.close()
            self._reader.close()

    def _connect(self, synchronous: str) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path, isolation_level=None, check_same_thread=False, timeout=5.0
        )
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {synchronous}")
        return connection

    def _prepare(self) -> float:
        """Create missing tables. Returns the offset of the store's clock from this boot's clock, in
        seconds.

        The process that first opens the file after a boot sets it. It is not changed after that, so
        every lease lasts exactly as long as its holder expects.
        """
        boot = _BOOT.read_text().strip() if _BOOT.exists() else ""
        self._writer.executescript(_SCHEMA)
        self._writer.execute("BEGIN IMMEDIATE")
        if boot and _meta(self._writer, "boot", "") != boot:
            self._writer.execute(_SET, ("boot", boot))
            self._writer.execute(_SET, ("offset", time.time() - _since_boot()))
        offset = float(_meta(self._writer, "offset", 0.0))
        self._writer.execute("COMMIT")
        return offset

    def _now(self) -> float:
        return _since_boot() + self._offset if self._offset else time.time()

    def _commit_pending(self, own: _Job, timeout: float) -> None:
        """Commit all waiting jobs, each under its own conditions, in one transaction."""
        jobs: list[_Job] = []
        writer, started = self._writer, False
        try:
            writer.execute(f"PRAGMA busy_timeout = {max(1, int(timeout * 1000))}")
            writer.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            self._pending.remove(own)  # only this one: the others may have more time left
            own.error = self._failed(error, started=False)
            return
        try:
            # Only now, to include jobs that arrived while another process held the file.
            while self._pending:
                jobs.append(self._pending.popleft())
            now, revision = self._now(), int(_meta(writer, "revision", 0))
            begun = revision
            for job in jobs:
                revision = self._apply(job, revision, now)
            if revision != begun:
                writer.execute(_SET, ("revision", revision))
                self._written += sum(len(job.writes) for job in jobs)
                if self._written >= _PURGE_EVERY:
                    writer.execute(_PURGE, (now, 2 * self._written))
                    self._written = 0
            started = True
            writer.execute("COMMIT")
        except BaseException as error:  # any error: leave no transaction open
            if writer.in_transaction:
                writer.execute("ROLLBACK")
                started = False
            for job in jobs:
                job.error = self._failed(error, started=None if started else False)
            if not isinstance(error, Exception):
                raise

    def _apply(self, job: _Job, revision: int, now: float) -> int:
        """Apply a job and return the revision after it."""
        if now >= job.before:
            job.error = TooLate()
            return revision
        for name, expected in job.checks.items():
            found = self._writer.execute(_READ, (name, now)).fetchone()
            if (0 if found is None else found[1]) != expected:
                job.error = Conflict(name)
                return revision
        revision += 1
        for name, write in job.writes.items():
            seconds = REMEMBERED if write.value is None else write.seconds
            expires = None if seconds is None else now + seconds
            self._writer.execute(_WRITE, (name, write.value, revision, expires))
        job.revision = revision
        return revision

    def _slow(self, timeout: float, *, started: bool | None) -> Unavailable:
        return Unavailable(
            f"the state store {self.path} did not answer within {timeout:.3g} s", started=started
        )

    def _failed(self, error: BaseException, *, started: bool | None) -> Unavailable:
        return Unavailable(f"the state store {self.path} failed: {error}", started=started)


def _check_there(path: str) -> None:
    """Raise Missing if there is no store at a path where one could be."""
    if os.path.exists(path):
        with closing(sqlite3.connect(path, timeout=5.0)) as connection:
            if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'rows'").fetchone():
                return
            raise Missing(f"{path} is not a state store: it lacks the tables")
    if os.path.isdir(os.path.dirname(os.path.abspath(path))):
        raise Missing(f"there is no state store {path}")


def _row(found: Any) -> Row | None:
    return None if found is None else Row(found[0], found[1])


def _meta(connection: sqlite3.Connection, name: str, default: Any) -> Any:
    found = connection.execute(_GET, (name,)).fetchone()
    return default if found is None else found[0]


def _since_boot() -> float:
    """Seconds since the boot, the same for all processes of this machine."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
