"""Access to one store: its engine, timeouts, the versions seen, and threads for coroutines."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Callable, Iterator
from contextvars import copy_context
from typing import Any, TypeVar

from .. import errors
from ..backends import native
from ..backends.workers import Workers
from ..handling import handled
from .engines.base import Engine, Row
from .engines.off_the_hub import OffTheHub
from .renewals import Renewals

T = TypeVar("T")

# Timeout of an operation in seconds, unless the current call has less left.
PATIENCE = 5.0
# Maximum threads that run operations for asyncio.
_THREADS = 16
# Backoff in seconds after a conflict: up to the first at first, then doubled each time up to the
# second.
_AGAIN, _AGAIN_AT_MOST = 0.001, 0.2


class Access:
    """One store, as locks, transactions and operations use it."""

    def __init__(self, engine: Engine) -> None:
        self.engine: Engine = OffTheHub(engine) if engine.blocks_thread else engine
        self.renewals = Renewals()
        self._workers = Workers(_THREADS)
        self._process = os.getpid()
        self._seen = 0
        self._seeing = native.allocate_lock()

    @property
    def reached(self) -> int:
        """The newest version seen through this object, read or written.

        On a replica, the version up to which its data is complete.
        """
        return max(self._seen, self.engine.reached)

    def close(self) -> None:
        """Close the store and stop renewing its leases."""
        self.renewals.close()
        self._workers.close()
        self.engine.close()

    def version(self) -> int:
        """The newest version in the store."""
        newest = self.engine.revision(self.patience())
        self.saw(newest)
        return newest

    def saw(self, version: int) -> None:
        """Note that data of this version was seen; the reply to the current call reports it."""
        if version > self._seen:
            with self._seeing:  # another thread may have noted a higher one
                self._seen = max(self._seen, version)

    def saw_row(self, row: Row | None) -> None:
        """Note that a row was read, or found missing.

        The removal of a missing row has a version, too, which is fetched if the caller tracks
        versions.
        """
        if row is not None:
            self.saw(row.revision)
        else:
            call = handled()
            if call is not None and call.versions is not None:
                self.version()

    def time_left(self) -> float | None:
        """Seconds until the deadline of the current call. None if it has no deadline."""
        call = handled()
        if call is None or call.deadline is None:
            return None
        return call.deadline - time.monotonic()

    def patience(self, at_least: float = 0.0) -> float:
        """Seconds that one operation may take.

        `at_least` is the minimum for cleanup after the call's deadline. Raises DeadlineExceeded if
        no time is left.
        """
        if self._process != os.getpid():
            raise RuntimeError(
                "this state was opened before a fork: open it again in the child process"
            )
        left = self.time_left()
        if left is None:
            return PATIENCE
        left = max(left, at_least)
        if left <= 0:
            raise errors.DeadlineExceeded(
                "the call's deadline passed before the state store was accessed"
            )
        return min(PATIENCE, left)

    def attempts(self, timeout: float | None) -> Iterator[float | None]:
        """For operations that may conflict: the seconds to wait after each attempt, None after the
        last."""
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
        """Call the function in a native thread, in the context of the current call."""
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
                pass  # the loop is closed, so no coroutine waits

        self._workers.submit(work)
        return await future


def _settle(future: asyncio.Future[Any], result: Any, failure: BaseException | None) -> None:
    if future.cancelled():
        return
    if failure is None:
        future.set_result(result)
    else:
        future.set_exception(failure)
