"""What a user holds: one store, with versioned data, transactions, locks and what changes. Blocking and thread-safe; `aio` has the same for
asyncio."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Callable, Iterator
from contextvars import copy_context
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeVar

from .. import errors
from ..backends import native
from ..backends.workers import Workers
from ..context import handling
from .aio import AsyncState
from .engine import Engine, Row
from .gevent import OffTheHub, pause
from .leases import Fence, change_own
from .locks import Lock
from .pauses import LATEST, SOON
from .renewals import Renewals
from .transactions import Overtaken, Transaction
from .values import row_of, unpacked

T = TypeVar("T")

# Seconds for which an operation waits for the store, unless the call that is being handled has less left.
PATIENCE = 5.0
# Threads for what asyncio awaits.
_THREADS = 16


# Changes taken in one look.
_AT_ONCE = 1000
# Seconds to wait before what was overtaken is tried again: up to the first, doubled each time, at most up to the last.
_AGAIN, _AGAIN_AT_MOST = 0.001, 0.2


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


class State:
    """One store. `open_state` makes it; `close()` or `with` ends it.

    Every version is the store's revision, as in etcd: it rises with every change of anything, and none comes twice. An operation raises
    Unavailable when the store does not answer, within 5 s or what is left of the call that is being handled.
    """

    def __init__(self, engine: Engine, url: str) -> None:
        self.engine: Engine = OffTheHub(engine) if engine.blocks_thread else engine
        self.url = url
        self.renewals = Renewals()
        self._workers = Workers(_THREADS)
        self._process = os.getpid()
        self._seen = 0
        self._seeing = native.allocate_lock()

    @property
    def reached(self) -> int:
        """The newest version that was seen through this object: written or read; on a replica, the one up to which it has everything."""
        return max(self._seen, self.engine.reached)

    @property
    def aio(self) -> AsyncState:
        """The same store for coroutines on an asyncio loop."""
        return AsyncState(self)

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

    def version(self) -> int:
        """The newest version of anything."""
        newest = self.engine.revision(self.patience())
        self.saw(newest)
        return newest

    def close(self) -> None:
        """End it: leases are no longer renewed."""
        self.renewals.close()
        self._workers.close()
        self.engine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<state {self.url}>"

    # For what is made of it

    def saw(self, version: int) -> None:
        """Something of that version was seen: what answers the call has seen it too."""
        if version > self._seen:
            with self._seeing:  # another thread's may be higher still
                self._seen = max(self._seen, version)

    def saw_row(self, row: Row | None) -> None:
        """A row was read, or found to be missing: what removed it has a version too, for who wants to know."""
        if row is not None:
            self.saw(row.revision)
        else:
            call = handling.get()
            if call is not None and call.versions is not None:
                self.version()

    def time_left(self) -> float | None:
        """Seconds until the deadline of the call that is being handled, None where there is none."""
        call = handling.get()
        if call is None or call.deadline is None:
            return None
        return call.deadline - time.monotonic()

    def patience(self, at_least: float = 0.0) -> float:
        """Seconds that one operation may take; `at_least` is for what must be tidied up though the call's time is over. Raises
        DeadlineExceeded where there are none."""
        if self._process != os.getpid():
            raise RuntimeError("this state was opened before a fork: open it again in the child process")
        left = self.time_left()
        if left is None:
            return PATIENCE
        left = max(left, at_least)
        if left <= 0:
            raise errors.DeadlineExceeded("the call's time was over before the state store was asked")
        return min(PATIENCE, left)

    def attempts(self, timeout: float | None) -> Iterator[float | None]:
        """For what may be overtaken: the seconds to wait after each attempt that was, None after the last."""
        left = self.time_left()
        given = [each for each in (timeout, left) if each is not None]
        end = time.monotonic() + min(given) if given else None
        number = 0
        while True:
            number += 1
            wait = random.uniform(0.0, min(_AGAIN * 2 ** min(number, 10), _AGAIN_AT_MOST))  # noqa: S311 - no secret
            over = end is not None and time.monotonic() + wait >= end
            yield None if over else wait

    async def run(self, function: Callable[..., T], *args: Any) -> T:
        """Call it in a native thread, as part of the call that is being handled."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        context = copy_context()

        def work() -> None:
            result: Any = None
            failure: BaseException | None = None
            try:
                result = context.run(function, *args)
            except BaseException as error:
                failure = error
            try:
                loop.call_soon_threadsafe(_settle, future, result, failure)
            except RuntimeError:
                pass  # the loop was closed: nobody waits

        self._workers.submit(work)
        return await future

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


def _settle(future: asyncio.Future[Any], result: Any, failure: BaseException | None) -> None:
    if future.cancelled():
        return
    if failure is None:
        future.set_result(result)
    else:
        future.set_exception(failure)
