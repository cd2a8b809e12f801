"""Several keys read and written as one step: optimistic, so that nobody waits for anybody, and whoever was overtaken does it again."""

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
    """Something that was read has changed since."""

    def __init__(self, row: str) -> None:
        super().__init__(f"{row[2:]!r} has changed since it was read")


class Transaction:
    """What is read here is checked, and what is written here is written, when it is committed: all or nothing.

    `with state.transaction() as tx:` commits where the block ends without an error; Aborted says that something that was read has changed
    since. `version` is then that of all that was written.
    """

    def __init__(self, state: Access) -> None:
        self.version = 0
        self._state = state
        self._read: dict[str, int] = {}
        self._found: dict[str, Row | None] = {}
        self._written: dict[str, Write] = {}
        self._fences: list[Fence] = []

    def get(self, key: str, default: Any = None) -> Any:
        """The value, as this transaction has written it, or as it found it the first time."""
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
        """`get`, without blocking the asyncio loop."""
        return await self._state.run(self.get, key, default)

    def put(self, key: str, value: Any, *, ttl: float | None = None) -> None:
        """Write a value when this is committed; after `ttl` seconds it is gone."""
        self._written[row_of(key)] = Write(packed(key, value), checked_ttl(key, ttl))

    def delete(self, key: str) -> None:
        """Remove the key when this is committed."""
        self._written[row_of(key)] = Write(None)

    def expect(self, key: str, version: int) -> None:
        """Commit only if the key has that version; 0: if there is none."""
        self._remember(row_of(key), checked_version(key, version))

    def fence(self, lock: Lock | Fence) -> None:
        """Commit only while that lock is held with that token."""
        self._fences.append(lock.fence if isinstance(lock, Lock) else lock)

    def commit(self) -> int:
        """Returns the version of what was written. Raises Aborted where something that was read has changed, FailedPrecondition where a
        lock is no longer held."""
        try:
            self.version = self.commit_with({}, {}, self._state.patience())
        except Conflict as conflict:
            raise Overtaken(conflict.name) from None
        return self.version

    def commit_with(self, checks: dict[str, int], writes: dict[str, Write], patience: float) -> int:
        """The same, together with other rows; Conflict tells which row has changed."""
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
                continue  # the next look says which lock it was
            except Conflict as conflict:
                if conflict.name not in names:
                    raise

    def write_beside(self, row: str, write: Write) -> None:
        """A row of the store's own, written with the others."""
        self._written[row] = write

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.commit()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            await self._state.run(self.commit)

    def _remember(self, row: str, revision: int) -> None:
        if self._read.setdefault(row, revision) != revision:
            raise Overtaken(row)
