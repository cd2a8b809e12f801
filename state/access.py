"""The way to one store: its engine, how long an operation waits for it, what was seen of it, and threads for coroutines."""

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

# Seconds for which an operation waits for the store, unless the call that is being handled has less left.
PATIENCE = 5.0
# Threads for what asyncio awaits.
_THREADS = 16
# Seconds to wait before what was overtaken is tried again: up to the first, doubled each time, at most up to the last.
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
        """The newest version that was seen through this object: written or read; on a replica, the one up to which it has everything."""
        return max(self._seen, self.engine.reached)

    def close(self) -> None:
        """End it: leases are no longer renewed."""
        self.renewals.close()
        self._workers.close()
        self.engine.close()

    def version(self) -> int:
        """The newest version of anything."""
        newest = self.engine.revision(self.patience())
        self.saw(newest)
        return newest

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
            call = handled()
            if call is not None and call.versions is not None:
                self.version()

    def time_left(self) -> float | None:
        """Seconds until the deadline of the call that is being handled, None where there is none."""
        call = handled()
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


def _settle(future: asyncio.Future[Any], result: Any, failure: BaseException | None) -> None:
    if future.cancelled():
        return
    if failure is None:
        future.set_result(result)
    else:
        future.set_exception(failure)
