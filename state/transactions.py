"""Optimistic transactions: several keys read and written atomically, with retries on conflict."""

from __future__ import annotations

from math import inf
from types import TracebackType
from typing import Any, Self

from .. import errors
from .access import Access
from .engines.base import Conflict, Row, TooLate, Write
from .locks.leases import Fence, fenced, holder_of
from .locks.lock import Lock
from .values import checked_ttl, checked_version, packed, row_of, unpacked


class Overtaken(errors.Aborted):
    """Data that the transaction read has changed since."""

    def __init__(self, row: str) -> None:
        super().__init__(f"{row[2:]!r} has changed since it was read")


class Transaction:
    """Reads that are checked, and writes that are made, atomically at the commit.

    `with state.transaction() as tx:` commits if the block ends without an error. It raises Aborted
    if data that was read has changed since. `version` is then the version of all writes.
    """

    def __init__(self, state: Access) -> None:
        self.version = 0
        self._state = state
        self._read: dict[str, int] = {}
        self._found: dict[str, Row | None] = {}
        self._written: dict[str, Write] = {}
        self._fences: list[Fence] = []

    def get(self, key: str, default: Any = None) -> Any:
        """The value as this transaction wrote it, or as it first read it."""
        row = row_of(key)
        if row in self._written:
            value = self._written[row].value
        else:
            if row not in self._found:
                (found,), _ = self._state.engine.read((row,), self._state.patience())
                self._state.saw_row(found)
                self._remember(row, 0 if found is None else found.revision)
                self._found[row] = found
            found = self._found[row]
            value = None if found is None else found.value
        return default if value is None else unpacked(value)

    async def aget(self, key: str, default: Any = None) -> Any:
        """`get` without blocking the asyncio loop."""
        return await self._state.run(self.get, key, default)

    def put(self, key: str, value: Any, *, ttl: float | None = None) -> None:
        """Write a value at the commit. It expires after `ttl` seconds."""
        self._written[row_of(key)] = Write(packed(key, value), checked_ttl(key, ttl))

    def delete(self, key: str) -> None:
        """Remove the key at the commit."""
        self._written[row_of(key)] = Write(None)

    def expect(self, key: str, version: int) -> None:
        """Commit only if the key has that version; 0 means that it does not exist."""
        self._remember(row_of(key), checked_version(key, version))

    def fence(self, lock: Lock | Fence) -> None:
        """Commit only while that lock is held with that token."""
        self._fences.append(lock.fence if isinstance(lock, Lock) else lock)

    def commit(self) -> int:
        """Commit and return the version of the writes.

        Raises Aborted if data that was read has changed, FailedPrecondition if a lock is no longer
        held.
        """
        try:
            self.version = self.commit_with({}, {}, self._state.patience())
        except Conflict as conflict:
            raise Overtaken(conflict.name) from None
        return self.version

    def commit_with(self, checks: dict[str, int], writes: dict[str, Write], patience: float) -> int:
        """Commit together with other rows.

        Raises Conflict, which names the row that has changed.
        """
        engine = self._state.engine
        checks, writes = {**self._read, **checks}, {**self._written, **writes}
        names = [holder_of(fence.name) for fence in self._fences]
        while True:
            before = inf
            if names:
                held, now = engine.read(names, patience)
                for fence, name, row in zip(self._fences, names, held, strict=True):
                    checks[name], ends = fenced(fence, row, now)
                    before = min(before, ends)
            try:
                version = engine.commit(checks, writes, patience, before=before)
                self._state.saw(version)
                return version
            except TooLate:
                continue  # the next read shows which lock has expired
            except Conflict as conflict:
                if conflict.name not in names:
                    raise

    def write_beside(self, row: str, write: Write) -> None:
        """Add a row that is internal to the store."""
        self._written[row] = write

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.commit()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            await self._state.run(self.commit)

    def _remember(self, row: str, revision: int) -> None:
        if self._read.setdefault(row, revision) != revision:
            raise Overtaken(row)
