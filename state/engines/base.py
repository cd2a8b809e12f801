"""The interface of a storage engine: read rows, change them atomically under conditions, list
changes.

Locks, versioned data and key records build on it alone, so a new engine is one file. An engine maps
names to bytes. It blocks, is thread-safe, and each operation is one atomic step of the store.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from math import inf
from typing import NamedTuple

from ...errors import UsageError


class Row(NamedTuple):
    """The value stored under a name, and its revision."""

    value: bytes
    revision: int


class Snapshot(NamedTuple):
    """Rows at one moment (None for missing ones), and the store's own clock then, in seconds."""

    rows: list[Row | None]
    now: float


class Write(NamedTuple):
    """The new state of a row: `value` None removes it. It expires after `seconds`."""

    value: bytes | None
    seconds: float | None = None


class Change(NamedTuple):
    """The newest state of a changed row; `value` is None if it was removed.

    `expires` is the time, by the store's clock, at which the row expires or its removal is
    forgotten. None means never.
    """

    name: str
    value: bytes | None
    revision: int
    expires: float | None = None


class Changes(NamedTuple):
    """Changes, the revision up to which they are complete, and the store's own clock then.

    The clock is the only sign of a row's expiry.
    """

    found: list[Change]
    reached: int
    now: float


class Conflict(Exception):
    """A row is not at the expected revision. Nothing was changed."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name!r} has changed")
        self.name = name


class Missing(UsageError):
    """The store does not exist, and `create` is False."""


class TooLate(Exception):
    """The store's clock has passed the given time. Nothing was changed."""


# Seconds for which `changes` reports the removal of a row.
REMEMBERED = 86_400.0


class Engine(ABC):
    """One store.

    Every method raises `errors.Unavailable` if the store does not answer within `timeout` seconds.
    `started` is then False if nothing can have changed, None if that is unknown.
    """

    # Whether an operation blocks the thread with all its greenlets.
    blocks_thread: bool
    # Whether all users of the store are on this machine.
    one_machine: bool
    # For a replica, the revision up to which its data is complete. 0 for an engine that asks the
    # store.
    reached: int = 0

    @abstractmethod
    def read(self, names: Sequence[str], timeout: float) -> Snapshot:
        """The rows of these names at one moment."""

    @abstractmethod
    def commit(
        self,
        checks: Mapping[str, int],
        writes: Mapping[str, Write],
        timeout: float,
        *,
        before: float = inf,
    ) -> int:
        """Change rows, all or none, and return the revision of the writes.

        Each row of `checks` must be at its revision (0: does not exist), and the store's clock must
        be before `before`; otherwise raises Conflict or TooLate. Every commit has a higher revision
        than all before it, across restarts too. A commit that has returned is durable.
        """

    @abstractmethod
    def changes(self, prefix: str, since: int, limit: int, timeout: float) -> Changes:
        """The rows with this prefix that changed after revision `since`, ordered by revision.

        Each row appears once, in its present state. The result has at most `limit` rows, plus the
        rest of the last commit among them, so a reader that continues from there misses nothing. A
        result of fewer than `limit` rows is complete at one moment. Expired rows are left out, and
        so are removals longer ago than `REMEMBERED`.
        """

    @abstractmethod
    def revision(self, timeout: float) -> int:
        """The revision of the newest commit; 0 if there was none."""

    @abstractmethod
    def close(self) -> None: ...
