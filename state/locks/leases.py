"""The rows of a lock: one for its holder and one for its queue; and the steps that change them.

Each step is one short operation, or a few after conflicts. It never waits for the lock: `lock.py`
does.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import NamedTuple

import msgspec
from msgspec import Struct

from ... import errors
from ..engines.base import Conflict, Engine, Row, Write
from ..engines.off_the_hub import pause
from . import presence

# Seconds without a sign of life after which a waiter is skipped.
PATIENCE = 3.0
# Maximum seconds before a retry after a conflict.
_AGAIN = 0.0005


class Fence(NamedTuple):
    """A lock's name and its holder's token, to pass to a writer."""

    name: str
    token: int


class Holder(Struct, array_like=True):
    """The holder of a lock, and the end of its lease by the store's clock.

    `token` is 0 in the row that granted the lock: there the token is the row's own revision.
    """

    id: str
    who: str
    ends: float
    token: int = 0


class Waiter(Struct, array_like=True):
    """A waiter, and the time until which it counts."""

    id: str
    who: str
    until: float


_waiters = msgspec.msgpack.Decoder(list[Waiter])
_holder = msgspec.msgpack.Decoder(Holder)
_encode = msgspec.msgpack.Encoder().encode


def attempt(
    engine: Engine, name: str, me: str, who: str, lease: float, patience: Callable[[], float]
) -> tuple[int, int]:
    """One attempt of `me` to get the lock, for the process `who` ("" if unknown).

    Returns `(0, token)` on success, else `(position, 0)`, where position 1 is the head of the
    queue.
    """
    names = (holder_of(name), _line_of(name))
    while True:
        (held, queue), now = engine.read(names, patience())
        waiting = [] if queue is None else _waiters.decode(queue.value)
        others = [each for each in waiting if each.id != me and each.until > now]
        # Skips waiters whose processes have ended, but only at the head of the queue: checking all
        # takes long.
        while others and presence.gone(others[0].who, engine.one_machine):
            del others[0]
        mine = next((number for number, each in enumerate(waiting) if each.id == me), None)
        ahead = {each.id for each in waiting[:mine]}
        before = sum(each.id in ahead for each in others)
        checks = {names[1]: queue.revision if queue else 0}
        # A grant whose reply was lost is valid all the same.
        free = before == 0 and (
            held is None or not is_held(held, now, engine) or _holder.decode(held.value).id == me
        )
        writes: dict[str, Write] = {}
        if free:
            checks[names[0]] = held.revision if held else 0
            writes[names[0]] = Write(_encode(Holder(me, who, now + lease)))
            if queue is not None and len(others) < len(waiting):
                writes[names[1]] = _queued(others)
        elif mine is None or waiting[mine].until - now < PATIENCE / 2:
            entry = Waiter(me, presence.me(), now + PATIENCE)
            writes[names[1]] = _queued([*others[:before], entry, *others[before:]])
        else:
            return before + 1, 0
        try:
            revision = engine.commit(checks, writes, patience())
        except Conflict:
            pause(random.uniform(0.0, _AGAIN))  # noqa: S311 - no secret
            continue
        return (0, revision) if free else (before + 1, 0)


def leave(engine: Engine, name: str, me: str, timeout: float) -> None:
    """Leave the queue."""
    row = _line_of(name)
    while True:
        (queue,), _ = engine.read((row,), timeout)
        waiting = [] if queue is None else _waiters.decode(queue.value)
        rest = [each for each in waiting if each.id != me]
        if queue is None or len(rest) == len(waiting):
            return
        try:
            engine.commit({row: queue.revision}, {row: _queued(rest)}, timeout)
        except Conflict:
            continue
        return


def change_own(engine: Engine, fence: Fence, lease: float | None, timeout: float) -> bool:
    """Renew a lock for `lease` seconds, or release it (None).

    False if it is no longer held with that token.
    """
    name = holder_of(fence.name)
    while True:
        (held,), now = engine.read((name,), timeout)
        if held is None or token_of(held) != fence.token:
            return False
        row = _holder.decode(held.value)
        if lease is not None and now >= row.ends:
            return False  # another process may take it at any moment
        kept = None if lease is None else _encode(Holder(row.id, row.who, now + lease, fence.token))
        try:
            engine.commit({name: held.revision}, {name: Write(kept)}, timeout)
        except Conflict:
            continue
        return True


def holder_of(name: str) -> str:
    """The name of the row of a lock's holder."""
    return f"l:{name}"


def _line_of(name: str) -> str:
    return f"w:{name}"


def token_of(held: Row) -> int:
    return _holder.decode(held.value).token or held.revision


def is_held(held: Row | None, now: float, engine: Engine) -> bool:
    if held is None:
        return False
    row = _holder.decode(held.value)
    return row.ends > now and not presence.gone(row.who, engine.one_machine)


def fenced(fence: Fence, held: Row | None, now: float) -> tuple[int, float]:
    """The conditions for a holder's write.

    Returns the revision at which the lock's row must be, and the time by the store's clock before
    which the commit must happen. Raises FailedPrecondition if another process holds the lock or its
    lease has ended.
    """
    if (
        held is None
        or token_of(held) != fence.token
        or now >= (ends := _holder.decode(held.value).ends)
    ):
        raise errors.FailedPrecondition(
            f"lock {fence.name!r} is no longer held with token {fence.token}: nothing was written"
        )
    return held.revision, ends


def _queued(waiting: list[Waiter]) -> Write:
    return Write(_encode(waiting), 10 * PATIENCE) if waiting else Write(None)
