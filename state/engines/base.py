"""What a store must be able to do, and no more: read rows, change them together under conditions, tell what has changed.

Locks, versioned data and the records of keys are all made of this, so a new engine is one file. An engine knows bytes under names; it
blocks, may be used by any number of threads, and every operation on it is one atomic step of the store's.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from math import inf
from typing import NamedTuple

from ...errors import UsageError


class Row(NamedTuple):
    """What is stored under a name, and the revision that stored it."""

    value: bytes
    revision: int


class Snapshot(NamedTuple):
    """Rows as they were at one moment (None where there is none), and the store's own clock then, in seconds."""

    rows: list[Row | None]
    now: float


class Write(NamedTuple):
    """What a row is to become: `value` None removes it. After `seconds` it is gone by itself."""

    value: bytes | None
    seconds: float | None = None


class Change(NamedTuple):
    """The newest state of a row that has changed; `value` is None where it was removed. `expires`: when it is gone by itself, and a removal
    forgotten, by the store's clock; None for never."""

    name: str
    value: bytes | None
    revision: int
    expires: float | None = None


class Changes(NamedTuple):
    """What has changed, the revision up to which that is all, and the store's own clock then: a row that has expired is told by nothing
    else."""

    found: list[Change]
    reached: int
    now: float


class Conflict(Exception):
    """A row is not at the revision that was asked for. Nothing was changed."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name!r} has changed")
        self.name = name


class Missing(UsageError):
    """There is no such store, and whoever only reads does not make one."""


class TooLate(Exception):
    """The store's clock has passed the time that was given. Nothing was changed."""


# Seconds for which the removal of a row can be learned from `changes`.
REMEMBERED = 86_400.0


class Engine(ABC):
    """One store. Every method raises `errors.Unavailable` when the store does not answer in `timeout` seconds, with `started` False
    where nothing can have been changed, None where nobody can know."""

    # Whether an operation blocks the thread, and with it all its greenlets.
    blocks_thread: bool
    # Whether all who use the store are on this machine.
    one_machine: bool
    # The revision up to which it knows all without asking, as a replica does; 0 where it always asks.
    reached: int = 0

    @abstractmethod
    def read(self, names: Sequence[str], timeout: float) -> Snapshot:
        """The rows of these names, all of one moment."""

    @abstractmethod
    def commit(
        self,
        checks: Mapping[str, int],
        writes: Mapping[str, Write],
        timeout: float,
        *,
        before: float = inf,
    ) -> int:
        """Change rows, all or none: if each of `checks` is at its revision (0: there is none) and the store's clock is before
        `before`. Returns the revision of what was written: every commit has a higher one than those before it, across restarts too.
        What it returned for is durable. Raises Conflict, TooLate."""

    @abstractmethod
    def changes(self, prefix: str, since: int, limit: int, timeout: float) -> Changes:
        """The rows whose names begin so and that have changed after that revision, each once, as it is now, in the order of their
        revisions: at most `limit`, and then what else the last commit among them wrote, so that nothing is missed by who goes on from
        there; fewer than `limit` are all that there were at one moment. What was removed longer than `REMEMBERED` ago is not among them,
        nor what has expired."""

    @abstractmethod
    def revision(self, timeout: float) -> int:
        """The revision of the newest commit; 0 where there was none."""

    @abstractmethod
    def close(self) -> None: ...
