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
from typing import TYPE_CHECKING, NamedTuple, Self

import msgspec
from msgspec import Struct

from .. import errors
from . import presence
from .engine import Conflict, Engine, Row, Write
from .gevent import pause
from .values import checked_name

if TYPE_CHECKING:
    from .store import State

log = logging.getLogger("ringback.state")

# Seconds from one look of who waits to the next: the first; for each place in the line, and at most.
_SOON, _PLACE, _LATEST = 0.0005, 0.002, 0.03
# Seconds without a word after which somebody who waits is passed over.
PATIENCE = 3.0
# The parts of a lease after which it is renewed.
_RENEW = 3
# The parts of that, after which it is tried again where the store did not answer.
_TRIES = 8
# Seconds.
LONGEST_LEASE = 86_400
# Seconds for letting go of a lock, or of the place in its line, also when the time of the call is over.
_FAREWELL = 1.0


class Holder(Struct, array_like=True):
    """Who holds a lock until when, by the store's clock. `token` is 0 in the row that gave it: there it is the row's own revision."""

    id: str
    who: str
    ends: float
    token: int = 0


class Waiter(Struct, array_like=True):
    """Who waits, and counts until when."""

    id: str
    who: str
    until: float


_waiters = msgspec.msgpack.Decoder(list[Waiter])
_holder = msgspec.msgpack.Decoder(Holder)
_encode = msgspec.msgpack.Encoder().encode


class Fence(NamedTuple):
    """A lock's name and the token of one who holds it, to be passed on to who writes."""

    name: str
    token: int


class Lock:
    """One lock for one use after the other: `with lock:` or `async with lock:`; `acquire` and `release`, `aacquire` and `arelease`.

    `lease`: seconds after which it is free again if its holder says nothing more. `timeout`: seconds to wait for it, None for as long as
    it takes (within the deadline of the call that is being handled); DeadlineExceeded when they are over. Where it is not `renewed`,
    whoever has its `fence` renews and releases it (`State.renew`, `State.release`), in whatever process.
    """

    def __init__(
        self, state: State, name: str, *, lease: float, timeout: float | None, renewed: bool = True
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
        over, wait = False, _SOON
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
            over = True  # to give up would be to wait for it once more; those behind pass over us after `PATIENCE`
            raise
        finally:
            self._asked = False
            if not over:
                self._give_up()

    def _attempt(self) -> int:
        """One try: 0 where it was got, else how many are before us and we."""
        engine, names = self._state.engine, (holder_of(self.name), f"w:{self.name}")
        while True:
            asked = time.monotonic()
            (held, queue), now = engine.read(names, self._state.patience())
            waiting = [] if queue is None else _waiters.decode(queue.value)
            others = [each for each in waiting if each.id != self._id and each.until > now]
            # (of those who surely are gone, only the first holds up the line; to look at all takes long)
            while others and presence.gone(others[0].who, engine.one_machine):
                del others[0]
            mine = next((number for number, each in enumerate(waiting) if each.id == self._id), None)
            ahead = {each.id for each in waiting[:mine]}
            before = sum(each.id in ahead for each in others)
            writes: dict[str, Write] = {}
            # (a grant of which we were not told is ours all the same)
            free = before == 0 and (
                held is None or not is_held(held, now, engine) or _holder.decode(held.value).id == self._id
            )
            if free:
                row = Holder(self._id, presence.me() if self.renewed else "", now + self.lease)
                writes[names[0]] = Write(_encode(row))
                if queue is not None and len(others) < len(waiting):
                    writes[names[1]] = _queued(others)
            elif mine is None or waiting[mine].until - now < PATIENCE / 2:
                entry = Waiter(self._id, presence.me(), now + PATIENCE)
                writes[names[1]] = _queued([*others[:before], entry, *others[before:]])
            else:
                return before + 1
            checks = {names[0]: held.revision if held else 0, names[1]: queue.revision if queue else 0}
            if not free:
                del checks[names[0]]
            try:
                revision = engine.commit(checks, writes, self._state.patience())
            except Conflict:
                pause(random.uniform(0.0, _SOON))  # noqa: S311
                continue
            if not free:
                return before + 1
            self.token, self._ends, self._lost = revision, asked + self.lease, False
            if self.renewed:
                self._state.renewals.add(self, self.lease / _RENEW, self._renew)
            return 0

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
        name = f"w:{self.name}"
        patience = self._state.patience(_FAREWELL)
        try:
            while True:
                (queue,), _ = self._state.engine.read((name,), patience)
                waiting = [] if queue is None else _waiters.decode(queue.value)
                rest = [each for each in waiting if each.id != self._id]
                if queue is None or len(rest) == len(waiting):
                    return
                try:
                    self._state.engine.commit({name: queue.revision}, {name: _queued(rest)}, patience)
                except Conflict:
                    continue
                return
        except errors.Unavailable:
            return  # those behind pass over us after `PATIENCE`

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


def change_own(engine: Engine, fence: Fence, lease: float | None, timeout: float) -> bool:
    """Renew a lock for so many seconds, or release it (None), where it still is held with that token; False where it is not."""
    name = holder_of(fence.name)
    while True:
        (held,), now = engine.read((name,), timeout)
        if held is None or token_of(held) != fence.token:
            return False
        row = _holder.decode(held.value)
        if lease is not None and now >= row.ends:
            return False  # it may be another's at any moment
        kept = None if lease is None else _encode(Holder(row.id, row.who, now + lease, fence.token))
        try:
            engine.commit({name: held.revision}, {name: Write(kept)}, timeout)
        except Conflict:
            continue
        return True


def holder_of(name: str) -> str:
    """The name of the row that says who holds a lock."""
    return f"l:{name}"


def token_of(held: Row) -> int:
    return _holder.decode(held.value).token or held.revision


def is_held(held: Row | None, now: float, engine: Engine) -> bool:
    if held is None:
        return False
    row = _holder.decode(held.value)
    return row.ends > now and not presence.gone(row.who, engine.one_machine)


def fenced(fence: Fence, held: Row | None, now: float) -> tuple[int, float]:
    """The revision at which the row of a lock must be for its holder to write, and the time by the store's clock before which. Raises
    FailedPrecondition where the lock is another's by now, or its lease is over."""
    if held is None or token_of(held) != fence.token or now >= (ends := _holder.decode(held.value).ends):
        raise errors.FailedPrecondition(
            f"lock {fence.name!r} is no longer held with token {fence.token}: nothing was written"
        )
    return held.revision, ends


def _queued(waiting: list[Waiter]) -> Write:
    return Write(_encode(waiting), 10 * PATIENCE) if waiting else Write(None)
