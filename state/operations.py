"""What a store can do: versioned data, transactions, locks, and what changes. Blocking and thread-safe."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeVar

from .access import Access
from .engines.off_the_hub import pause
from .locks.leases import Fence, change_own
from .locks.lock import Lock
from .pauses import LATEST, SOON
from .transactions import Overtaken, Transaction
from .values import row_of, unpacked

T = TypeVar("T")

# Changes taken in one look.
_AT_ONCE = 1000


class Versioned(NamedTuple):
    """A value and the version that it has, 0 where there is none."""

    value: Any
    version: int


class Changed(NamedTuple):
    """The newest state of a key that has changed. `deleted` ones have the value None."""

    key: str
    value: Any
    version: int
    deleted: bool


class Operations(Access):
    """Every version is the store's revision, as in etcd: it rises with every change of anything, and none comes twice. An operation raises
    Unavailable when the store does not answer, within 5 s or what is left of the call that is being handled."""

    def get(self, key: str, default: Any = None) -> Any:
        """The value, as plain data."""
        found = self.read(key)
        return found.value if found.version else default

    def read(self, key: str) -> Versioned:
        """The value with its version."""
        (found,), _ = self.engine.read((row_of(key),), self.patience())
        self.saw_row(found)
        return Versioned(None, 0) if found is None else Versioned(unpacked(found.value), found.revision)

    def put(
        self,
        key: str,
        value: Any,
        *,
        version: int | None = None,
        fence: Lock | Fence | None = None,
        ttl: float | None = None,
    ) -> int:
        """Write a value; returns its version. With `version`, only if that is the one it has (0: if there is none), else Aborted; with
        `fence`, only while that lock is held, else FailedPrecondition. After `ttl` seconds it is gone."""
        change = self._change(key, version, fence)
        change.put(key, value, ttl=ttl)
        return change.commit()

    def delete(self, key: str, *, version: int | None = None, fence: Lock | Fence | None = None) -> int:
        """Remove a key, under the conditions of `put`; returns the version at which it was removed."""
        change = self._change(key, version, fence)
        change.delete(key)
        return change.commit()

    def transaction(self) -> Transaction:
        """Several keys as one step: `with state.transaction() as tx:`. Aborted, at its end, where it was overtaken."""
        return Transaction(self)

    def transact(self, function: Callable[[Transaction], T], *, timeout: float | None = None) -> T:
        """Call the function with a transaction and commit that, again and again until nobody overtakes it; what it returns. It may do
        nothing that cannot be done twice. After `timeout` seconds (or the call's deadline) Aborted is raised."""
        for seconds in self.attempts(timeout):
            tx = Transaction(self)
            result = function(tx)
            try:
                tx.commit()
            except Overtaken:
                if seconds is None:
                    raise
                pause(seconds)
            else:
                return result
        raise AssertionError("the last attempt has no pause")

    def update(
        self, key: str, function: Callable[[Any], Any], default: Any = None, *, timeout: float | None = None
    ) -> Any:
        """Read, modify, write: the key becomes what the function makes of its value; returns that. As `transact`."""

        def step(tx: Transaction) -> Any:
            value = function(tx.get(key, default))
            tx.put(key, value)
            return value

        return self.transact(step, timeout=timeout)

    def lock(
        self, name: str, *, lease: float = 10.0, timeout: float | None = None, renewed: bool = True
    ) -> Lock:
        """A lock, for `with` or `async with`: see `Lock`."""
        return Lock(self, name, lease=lease, timeout=timeout, renewed=renewed)

    def renew(self, fence: Fence, lease: float = 10.0) -> bool:
        """Keep a lock that is not renewed by itself for so many seconds from now; False where it is no longer held with that token."""
        return change_own(self.engine, fence, lease, self.patience())

    def release(self, fence: Fence) -> bool:
        """Let others have the lock; False where it is no longer held with that token."""
        return change_own(self.engine, fence, None, self.patience())

    def watch(self, prefix: str = "", *, since: int | None = None) -> Iterator[Changed]:
        """What changes among the keys that begin so, from now on or after that version, in the order of the versions; it goes on for
        ever. Several changes of one key may be told as one, by the newest."""
        return self._watching(prefix, self.engine.revision(self.patience()) if since is None else since)

    def changes(self, prefix: str = "", *, since: int = 0) -> list[Changed]:
        """What has changed after that version: the first 1,000 keys, and what else the last commit among them wrote."""
        return self.changes_up_to(prefix, since)[0]

    def changes_up_to(self, prefix: str, since: int) -> tuple[list[Changed], int]:
        """The same, with the version up to which that is all: from there, it can be gone on."""
        found, reached, _ = self.engine.changes(f"d:{prefix}", since, _AT_ONCE, self.patience())
        self.saw(reached)
        changes = [
            Changed(
                each.name[2:],
                None if each.value is None else unpacked(each.value),
                each.revision,
                each.value is None,
            )
            for each in found
        ]
        return changes, reached

    def _change(self, key: str, version: int | None, fence: Lock | Fence | None) -> Transaction:
        change = Transaction(self)
        if version is not None:
            change.expect(key, version)
        if fence is not None:
            change.fence(fence)
        return change

    def _watching(self, prefix: str, since: int) -> Iterator[Changed]:
        wait = SOON
        while True:
            found, since = self.changes_up_to(prefix, since)
            yield from found
            if found:
                wait = SOON
            else:
                pause(wait)
                wait = min(wait * 1.5, LATEST)
