"""The engine for tests: a store in the memory of this process, which ends with the process."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from math import inf

from ...backends import native
from .base import REMEMBERED, Change, Changes, Engine, Missing, Snapshot, Write
from .rows import Rows

# Commits between two removals of expired rows.
_SWEEP_EVERY = 256


class _Store:
    """The data that the engines of one name share."""

    def __init__(self) -> None:
        self.lock = native.allocate_lock()  # held only while rows are read or changed
        self.rows = Rows()
        self.revision = 0
        self.engines = 0


_named: dict[str, _Store] = {}
_naming = native.allocate_lock()


class MemoryEngine(Engine):
    """All engines of one name in this process share a store until the last is closed.

    Without a name, each engine has its own store. With `create=False`, raises Missing for a missing
    store.
    """

    blocks_thread = False
    one_machine = True

    def __init__(self, name: str, *, create: bool = True) -> None:
        self._name = name
        self._closed = False
        with _naming:
            if not create and name not in _named:
                raise Missing(f"there is no state store memory://{name} in this process")
            self._store = _named.setdefault(name, _Store()) if name else _Store()
            self._store.engines += 1

    def read(self, names: Sequence[str], timeout: float) -> Snapshot:  # noqa: ARG002 - it never waits
        with self._store.lock:
            now = time.monotonic()
            return Snapshot([self._store.rows.find(name, now) for name in names], now)

    def commit(
        self,
        checks: Mapping[str, int],
        writes: Mapping[str, Write],
        timeout: float,  # noqa: ARG002
        *,
        before: float = inf,
    ) -> int:
        store = self._store
        with store.lock:
            now = time.monotonic()
            store.rows.check(checks, now, before)
            store.revision += 1
            store.rows.apply(
                [_change(name, write, store.revision, now) for name, write in writes.items()]
            )
            if store.revision % _SWEEP_EVERY == 0:
                store.rows.sweep(now)
            return store.revision

    def changes(self, prefix: str, since: int, limit: int, timeout: float) -> Changes:  # noqa: ARG002
        with self._store.lock:
            return self._store.rows.changes(
                prefix, since, limit, time.monotonic(), self._store.revision
            )

    def revision(self, timeout: float) -> int:  # noqa: ARG002
        return self._store.revision

    def close(self) -> None:
        with _naming:
            if not self._closed:
                self._closed = True
                self._store.engines -= 1
                if not self._store.engines:
                    _named.pop(self._name, None)


def _change(name: str, write: Write, revision: int, now: float) -> Change:
    seconds = REMEMBERED if write.value is None else write.seconds
    return Change(name, write.value, revision, None if seconds is None else now + seconds)
