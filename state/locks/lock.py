"""Locks: leases with fencing tokens, granted in the order of requests.

A lock alone is advisory: its holder may be suspended for longer than the lease, and another process
then gets the lock. The token makes it safe, since it rises with every holder. The store refuses a
write with `fence=lock` unless the writer holds the lock at that moment (Kleppmann, "How to do
distributed locking", 2016). A lock in use is renewed automatically.

All steps are short and blocking. The caller waits between them: a thread, a greenlet, or asyncio.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import time
from collections.abc import Generator
from math import inf
from types import TracebackType
from typing import Self

from ... import errors
from ..access import Access
from ..engines.off_the_hub import pause
from ..values import checked_name
from . import presence
from .leases import Fence, attempt, change_own, leave

log = logging.getLogger("ringback.state")

# Seconds between two attempts of a waiter: the first, per position in the queue, and at most.
_SOON, _PLACE, _LATEST = 0.0005, 0.002, 0.03
# Renewals per lease.
_RENEW = 3
# Attempts per renewal interval if the store does not answer.
_TRIES = 8
# Maximum lease in seconds.
LONGEST_LEASE = 86_400
# A remaining time below this, in seconds, is too short to conclude that the store is down.
_SHORT = 0.1
# Seconds for releasing a lock or leaving its queue, even after the call's deadline.
_FAREWELL = 1.0


class Lock:
    """A lock for one use at a time: `with lock:` or `async with lock:`.

    It also has `acquire` and `release`, `aacquire` and `arelease`.

    - `lease`: seconds after which the lock is free again unless its holder renews it.
    - `timeout`: seconds to wait for the lock; None means until the current call's deadline, if any.
      Then DeadlineExceeded is raised.
    - `renewed`: False if a holder of its `fence`, in any process, renews and releases it with
      `State.renew` and `State.release`.
    """

    def __init__(
        self, state: Access, name: str, *, lease: float, timeout: float | None, renewed: bool = True
    ) -> None:
        if not (isinstance(lease, int | float) and 0 < lease <= LONGEST_LEASE):
            raise errors.UsageError(
                f"lock {name!r}: the lease must be above 0 seconds, and at most "
                f"{LONGEST_LEASE:,}, not {lease!r}"
            )
        self.name = checked_name("the name of a lock", name)
        self.lease = lease
        self.timeout = timeout
        self.renewed = renewed
        self.token = 0
        self._state = state
        self._id = os.urandom(8).hex()
        self._ends = 0.0  # end of the lease by the local clock; never later than by the store's
        self._lost = False
        self._asked = False  # whether this object waits for the lock

    @property
    def held(self) -> bool:
        """Whether the lease is certainly still ours, judged locally."""
        return self.token > 0 and not self._lost and time.monotonic() < self._ends

    @property
    def fence(self) -> Fence:
        """The fence for a write elsewhere: `state.put(..., fence=...)`.

        Raises FailedPrecondition if the lock is not held.
        """
        self.check()
        return Fence(self.name, self.token)

    def check(self) -> None:
        """Raise FailedPrecondition if the lock is not held, or no longer."""
        if not self.held:
            when = "no longer held: its lease has run out" if self.token else "not held"
            raise errors.FailedPrecondition(f"lock {self.name!r} is {when}")

    def acquire(self, timeout: float | None = None) -> bool:
        """Wait for the lock, at most `timeout` seconds (by default the lock's own timeout).

        Returns whether the lock was acquired.
        """
        steps = self._acquiring(timeout)
        try:
            for seconds in steps:
                pause(seconds)
        finally:
            steps.close()  # now, not at garbage collection: the lock may be in use again by then
        return self.token > 0

    async def aacquire(self, timeout: float | None = None) -> bool:
        """`acquire` without blocking the asyncio loop."""
        steps = self._acquiring(timeout)
        step: asyncio.Future[float | None] | None = None
        try:
            while True:
                step = asyncio.ensure_future(self._state.run(next, steps, None))
                seconds = await asyncio.shield(step)
                if seconds is None:
                    return self.token > 0
                await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            await asyncio.shield(asyncio.ensure_future(self._abandon(step, steps)))
            raise

    def release(self) -> None:
        """Release the lock. Does nothing if it is no longer held."""
        token, self.token = self.token, 0
        self._state.renewals.remove(self)
        if token:
            change_own(
                self._state.engine, Fence(self.name, token), None, self._state.patience(_FAREWELL)
            )

    async def arelease(self) -> None:
        """`release` without blocking the asyncio loop."""
        await self._state.run(self.release)

    def __enter__(self) -> Self:
        if not self.acquire():
            raise self._late()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._leave(error, self.held)

    async def __aenter__(self) -> Self:
        if not await self.aacquire():
            raise self._late()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._state.run(self._leave, error, self.held)

    def __repr__(self) -> str:
        return f"<lock {self.name!r}, {f'token {self.token}' if self.held else 'not held'}>"

    def _leave(self, error: BaseException | None, held: bool) -> None:
        try:
            self.release()
        except errors.Unavailable:
            log.warning("lock %r not released, it becomes free when its lease runs out", self.name)
        if error is None and not held:
            raise errors.Aborted(
                f"lock {self.name!r}: the lease of {self.lease:g} s ran out during use; another "
                f"process may have held it"
            )

    def _late(self) -> errors.DeadlineExceeded:
        return errors.DeadlineExceeded(f"lock {self.name!r} was not free in time")

    def _acquiring(self, timeout: float | None) -> Generator[float, None, None]:
        """Steps that end when the lock is acquired or the time is over.

        Each yields the seconds to wait before the next.
        """
        if self.held or self._asked:
            how = "waited for" if self._asked else "held"
            raise errors.FailedPrecondition(
                f"lock {self.name!r} is {how} by this object already: create one Lock for each "
                f"concurrent use"
            )
        self.token = 0  # clears a lost one
        self._asked = True
        given = self.timeout if timeout is None else timeout
        left = self._state.time_left()
        end = time.monotonic() + min(inf if given is None else given, inf if left is None else left)
        over, wait, now = False, _SOON, time.monotonic()
        try:
            while True:
                place = self._attempt()
                if place == 0:
                    over = True
                    return
                now = time.monotonic()
                if now >= end:
                    return
                # The head of the queue polls more often than those behind it.
                wait = min(wait * 1.5, place * _PLACE, _LATEST)
                yield min(wait * random.uniform(0.7, 1.3), end - now)  # noqa: S311 - no secret
        except errors.Unavailable:
            if end - now < _SHORT:
                return  # the time ran out; the store may be fine
            # Leaving the queue would wait for the store again. Other waiters skip a silent one.
            over = True
            raise
        finally:
            self._asked = False
            if not over:
                self._give_up()

    def _attempt(self) -> int:
        """One attempt: 0 on success, else the position in the queue, from 1."""
        asked, state = time.monotonic(), self._state
        who = presence.me() if self.renewed else ""
        place, token = attempt(state.engine, self.name, self._id, who, self.lease, state.patience)
        if place == 0:
            self.token, self._ends, self._lost = token, asked + self.lease, False
            if self.renewed:
                state.renewals.add(self, self.lease / _RENEW, self._renew)
        return place

    async def _abandon(
        self, step: asyncio.Future[float | None] | None, steps: Generator[float, None, None]
    ) -> None:
        """Undo a cancelled acquisition: its step still runs in a thread and may get the lock."""
        if step is not None:
            await asyncio.wait([step])
        await self._state.run(steps.close)
        if self.token:
            await self.arelease()

    def _give_up(self) -> None:
        """Stop waiting, and release the lock if it was acquired meanwhile."""
        if self.token:
            self.release()
            return
        try:
            leave(self._state.engine, self.name, self._id, self._state.patience(_FAREWELL))
        except errors.Unavailable:
            pass  # other waiters skip a silent one

    def _renew(self) -> float | None:
        """Seconds until the next renewal; None if there is none."""
        asked, token, part = time.monotonic(), self.token, self.lease / _RENEW
        if not token:
            return None
        try:
            patience = max(0.05, min(self._ends - asked, part))
            if change_own(self._state.engine, Fence(self.name, token), self.lease, patience):
                self._ends = asked + self.lease
                return part
        except errors.Unavailable:
            if asked < self._ends:
                return part / _TRIES  # retry while the lease lasts
        if self.token == token:
            self._lost = True
            log.warning("lock %r lost, its lease of %g s has run out", self.name, self.lease)
        return None
