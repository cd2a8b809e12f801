"""What the store knows of a lock: a row for who holds it and one for who waits; and each step that changes them, one short operation, or a
few where somebody else was quicker. It waits for nobody: that is `lock.py`'s.
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

# Seconds without a word after which somebody who waits is passed over.
PATIENCE = 3.0
# Seconds, at most, before who was overtaken tries again.
_AGAIN = 0.0005


class Fence(NamedTuple):
    """A lock's name and the token of one who holds it, to be passed on to who writes."""

    name: str
    token: int


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


def attempt(
    engine: Engine, name: str, me: str, who: str, lease: float, patience: Callable[[], float]
) -> tuple[int, int]:
    """One try of `me` to get the lock, for the process `who` ("" for one that is not known): `(0, token)` where it was got, else how many
    are before `me` and itself, in the line where it stands now."""
    names = (holder_of(name), _line_of(name))
    while True:
        (held, queue), now = engine.read(names, patience())
        waiting = [] if queue is None else _waiters.decode(queue.value)
        others = [each for each in waiting if each.id != me and each.until > now]
        # (of those who surely are gone, only the first holds up the line; to look at all takes long)
        while others and presence.gone(others[0].who, engine.one_machine):
            del others[0]
        mine = next((number for number, each in enumerate(waiting) if each.id == me), None)
        ahead = {each.id for each in waiting[:mine]}
        before = sum(each.id in ahead for each in others)
        checks = {names[1]: queue.revision if queue else 0}
        # (a grant of which we were not told is ours all the same)
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
    """Wait no longer."""
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
    """The revision at which the row of a lock must be for its holder to write, and the time by the store's clock before which. Raises
    FailedPrecondition where the lock is another's by now, or its lease is over."""
    if held is None or token_of(held) != fence.token or now >= (ends := _holder.decode(held.value).ends):
        raise errors.FailedPrecondition(
            f"lock {fence.name!r} is no longer held with token {fence.token}: nothing was written"
        )
    return held.revision, ends


def _queued(waiting: list[Waiter]) -> Write:
    return Write(_encode(waiting), 10 * PATIENCE) if waiting else Write(None)
