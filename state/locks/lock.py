"""Locks: leases with fencing tokens, given in the order in which they were asked for.

A lock is advice: its holder may be stopped for longer than its lease, and another then has it. What makes it safe is the token, which
rises with every holder: the store refuses what is written with `fence=lock` by whoever does not hold the lock at that moment
(Kleppmann, "How to do distributed locking", 2016). A lock in use is renewed by itself.

All steps are short and blocking; between them the waiting is the caller's: a thread's, a greenlet's, or asyncio's.
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

# Seconds from one look of who waits to the next: the first; for each place in the line, and at most.
_SOON, _PLACE, _LATEST = 0.0005, 0.002, 0.03
# The parts of a lease after which it is renewed.
_RENEW = 3
# The parts of that, after which it is tried again where the store did not answer.
_TRIES = 8
# Seconds.
LONGEST_LEASE = 86_400
# Seconds that are too few to tell from them that the store is away.
_SHORT = 0.1
# Seconds for letting go of a lock, or of the place in its line, also when the time of the call is over.
_FAREWELL = 1.0


class Lock:
    """One lock for one use after the other: `with lock:` or `async with lock:`; `acquire` and `release`, `aacquire` and `arelease`.

    `lease`: seconds after which it is free again if its holder says nothing more. `timeout`: seconds to wait for it, None for as long as
    it takes (within the deadline of the call that is being handled); DeadlineExceeded when they are over. Where it is not `renewed`,
    whoever has its `fence` renews and releases it (`State.renew`, `State.release`), in whatever process.
    """

    def __init__(
        self, state: Access, name: str, *, lease: float, timeout: float | None, renewed: bool = True
    ) -> None:
        if not (isinstance(lease, int | float) and 0 < lease <= LONGEST_LEASE):
            raise errors.UsageError(
                f"lock {name!r}: the lease must be above 0 seconds, and at most {LONGEST_LEASE:,}, not {lease!r}"
            )
        self.name = checked_name("the name of a lock", name)
        self.lease = lease
        self.timeout = timeout
        self.renewed = renewed
        self.token = 0
        self._state = state
        self._id = os.urandom(8).hex()
        self._ends = 0.0  # of the lease, by our own clock: not later than by the store's
        self._lost = False
        self._asked = False  # whether somebody waits for it

    @property
    def held(self) -> bool:
        """Whether the lease surely is ours still, as far as can be told from here."""
        return self.token > 0 and not self._lost and time.monotonic() < self._ends

    @property
    def fence(self) -> Fence:
        """For who writes elsewhere: `state.put(..., fence=...)`. Raises FailedPrecondition where the lock is not held."""
        self.check()
        return Fence(self.name, self.token)

    def check(self) -> None:
        """Raises FailedPrecondition where the lock is not held, or no longer."""
        if not self.held:
            when = "no longer held: its lease has run out" if self.token else "not held"
            raise errors.FailedPrecondition(f"lock {self.name!r} is {when}")

    def acquire(self, timeout: float | None = None) -> bool:
        """Wait for the lock, at most so many seconds (else as long as the lock was made for). Whether it was got."""
        steps = self._acquiring(timeout)
        try:
            for seconds in steps:
                pause(seconds)
        finally:
            steps.close()  # now, and not when it is collected: the lock may be in use again by then
        return self.token > 0

    async def aacquire(self, timeout: float | None = None) -> bool:
        """`acquire`, without blocking the asyncio loop."""
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
        """Let others have it. What is no longer held is released by nobody: that passes without a word."""
        token, self.token = self.token, 0
        self._state.renewals.remove(self)
        if token:
            change_own(self._state.engine, Fence(self.name, token), None, self._state.patience(_FAREWELL))

    async def arelease(self) -> None:
        """`release`, without blocking the asyncio loop."""
        await self._state.run(self.release)

    def __enter__(self) -> Self:
        if not self.acquire():
            raise self._late()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave(error, self.held)

    async def __aenter__(self) -> Self:
        if not await self.aacquire():
            raise self._late()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._state.run(self._leave, error, self.held)

    def __repr__(self) -> str:
        return f"<lock {self.name!r}, {f'token {self.token}' if self.held else 'not held'}>"

    def _leave(self, error: BaseException | None, held: bool) -> None:
        try:
            self.release()
        except errors.Unavailable:
            log.warning("lock %r could not be released: it is free when its lease runs out", self.name)
        if error is None and not held:
            raise errors.Aborted(
                f"lock {self.name!r}: the lease of {self.lease:g} s ran out while it was in use; another may have had it"
            )

    def _late(self) -> errors.DeadlineExceeded:
        return errors.DeadlineExceeded(f"lock {self.name!r} was not free in time")

    def _acquiring(self, timeout: float | None) -> Generator[float, None, None]:
        """Steps that end with the lock, or when the time is over; each yields the seconds to wait before the next."""
        if self.held or self._asked:
            how = "waited for" if self._asked else "held"
            raise errors.FailedPrecondition(
                f"lock {self.name!r} is {how} by this object already: each use at a time needs one of its own"
            )
        self.token = 0  # one that was lost
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
                # Who is next looks more often than those behind.
                wait = min(wait * 1.5, place * _PLACE, _LATEST)
                yield min(wait * random.uniform(0.7, 1.3), end - now)  # noqa: S311 - no secret
        except errors.Unavailable:
            if end - now < _SHORT:
                return  # it was the time that was over, and not the store that was away
            over = True  # to give up would be to wait for it once more; those behind pass over us when we were silent for long
            raise
        finally:
            self._asked = False
            if not over:
                self._give_up()

    def _attempt(self) -> int:
        """One try: 0 where it was got, else how many are before us and we."""
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
        """Whatever becomes of the step, which runs in a thread and may get the lock yet."""
        if step is not None:
            await asyncio.wait([step])
        await self._state.run(steps.close)
        if self.token:
            await self.arelease()

    def _give_up(self) -> None:
        """Wait no longer, and do not keep what was got meanwhile."""
        if self.token:
            self.release()
            return
        try:
            leave(self._state.engine, self.name, self._id, self._state.patience(_FAREWELL))
        except errors.Unavailable:
            pass  # those behind pass over us when we were silent for long

    def _renew(self) -> float | None:
        """Seconds until the next time; None where there is none."""
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
                return part / _TRIES  # as long as there is time
        if self.token == token:
            self._lost = True
            log.warning("lock %r was lost: its lease of %g s has run out", self.name, self.lease)
        return None
