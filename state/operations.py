"""The operations of a store: data, transactions, locks and changes. Blocking and thread-safe."""

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

# Maximum changes per read.
_AT_ONCE = 1000


class Versioned(NamedTuple):
    """A value and its version, 0 if the key does not exist."""

    value: Any
    version: int


class Changed(NamedTuple):
    """The newest state of a key that has changed. A deleted key has the value None."""

    key: str
    value: Any
    version: int
    deleted: bool


class Operations(Access):
    """The operations of a store.

    A version is the store's revision, as in etcd: it rises with every change of any key and is
    never reused. An operation raises Unavailable if the store does not answer within 5 s, or within
    the time left of the current call.
    """

    def get(self, key: str, default: Any = None) -> Any:
        """The value of a key as plain data, or `default`."""
        found = self.read(key)
        return found.value if found.version else default

    def read(self, key: str) -> Versioned:
        """The value of a key with its version."""
        (found,), _ = self.engine.read((row_of(key),), self.patience())
        self.saw_row(found)
        return (
            Versioned(None, 0)
            if found is None
            else Versioned(unpacked(found.value), found.revision)
        )

    def put(
        self,
        key: str,
        value: Any,
        *,
        version: int | None = None,
        fence: Lock | Fence | None = None,
        ttl: float | None = None,
    ) -> int:
        """Write a value and return its version.

        With `version`, only if the key has that version (0: does not exist), else raises Aborted.
        With `fence`, only while that lock is held, else raises FailedPrecondition. The key expires
        after `ttl` seconds.
        """
        change = self._change(key, version, fence)
        change.put(key, value, ttl=ttl)
        return change.commit()

    def delete(
        self, key: str, *, version: int | None = None, fence: Lock | Fence | None = None
    ) -> int:
        """Remove a key under the conditions of `put`. Returns the version of the removal."""
        change = self._change(key, version, fence)
        change.delete(key)
        return change.commit()

    def transaction(self) -> Transaction:
        """Read and write several keys atomically: `with state.transaction() as tx:`.

        At the end of the block it raises Aborted if a key that it read has changed.
        """
        return Transaction(self)

    def transact(self, function: Callable[[Transaction], T], *, timeout: float | None = None) -> T:
        """Call the function with a transaction and commit; retry both on conflict. Returns the
        result.

        The function must be safe to repeat. Raises Aborted after `timeout` seconds, or at the
        call's deadline.
        """
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
        self,
        key: str,
        function: Callable[[Any], Any],
        default: Any = None,
        *,
        timeout: float | None = None,
    ) -> Any:
        """Replace the value of a key by `function(value)` atomically, and return the new value.

        Retries on conflict as `transact` does.
        """

        def step(tx: Transaction) -> Any:
            value = function(tx.get(key, default))
            tx.put(key, value)
            return value

        return self.transact(step, timeout=timeout)

    def lock(
        self, name: str, *, lease: float = 10.0, timeout: float | None = None, renewed: bool = True
    ) -> Lock:
        """A lock for `with` or `async with`. See `Lock`."""
        return Lock(self, name, lease=lease, timeout=timeout, renewed=renewed)

    def renew(self, fence: Fence, lease: float = 10.0) -> bool:
        """Extend a lock that is not renewed automatically, to `lease` seconds from now.

        False if the lock is no longer held with that token.
        """
        return change_own(self.engine, fence, lease, self.patience())

    def release(self, fence: Fence) -> bool:
        """Release a lock. False if it is no longer held with that token."""
        return change_own(self.engine, fence, None, self.patience())

    def watch(self, prefix: str = "", *, since: int | None = None) -> Iterator[Changed]:
        """Iterate endlessly over changes of keys with this prefix, in the order of their versions.

        Starts now, or after version `since`. Several changes of one key may be merged into the
        newest.
        """
        return self._watching(
            prefix, self.engine.revision(self.patience()) if since is None else since
        )

    def changes(self, prefix: str = "", *, since: int = 0) -> list[Changed]:
        """The changes after version `since`: the first 1,000 keys, plus the rest of the last commit
        among them."""
        return self.changes_up_to(prefix, since)[0]

    def changes_up_to(self, prefix: str, since: int) -> tuple[list[Changed], int]:
        """`changes`, with the version up to which they are complete, from which to continue."""
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
