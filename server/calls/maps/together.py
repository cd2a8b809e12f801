"""Runs the calls of a map of an inline method one after the other, with arguments decoded together.

An error, a future or any other result that is not plain takes the slower path of a single call.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextvars import Context
from typing import TYPE_CHECKING, Any

from .... import errors
from ....handling import batch, handling
from ....protocol.server import Session
from ....protocol.values import NOTHING, pack
from ....runtime import forks
from ..invocations.invocation import VALUES, InlineBatch
from .session import ANSWER_BYTES, SOON, IncomingMap, packed_together

if TYPE_CHECKING:
    from ...methods.table import ServedMethod
    from ..active import ActiveCalls
    from ..refusals import Refusals

# Calls between two checks of the clock and the results: at first, and at most. The number doubles
# while calls are short, and halves while they are not.
FIRST_STEP, STEP = 4, 64
# Seconds and bytes of results above which the next step has half as many calls.
LONG_STEP, LARGE_STEP = 0.0005, 65_536
# Characters or bytes above which a result is checked at once.
LARGE = 16_384


_NUMBERS = frozenset({int, float, bool, type(None)})
_STRINGS = frozenset({bytes, str})


def _size(results: list[Any]) -> int:
    """Approximate bytes of the results on the wire."""
    kinds = set(map(type, results))
    if kinds <= _NUMBERS:
        return 9 * len(results)
    if kinds <= _STRINGS:
        return sum(map(len, results))
    packed = packed_together(results, ANSWER_BYTES)
    return ANSWER_BYTES if packed is None else len(packed)


class Together:
    """The calls of one map of an inline method.

    `full` returns why the client may not make more calls now, or "".
    """

    __slots__ = (
        "block",
        "bytes",
        "first",
        "flushed",
        "full",
        "host",
        "incoming",
        "looked",
        "refusals",
        "rows",
        "served",
        "step",
        "taken",
    )

    def __init__(
        self,
        host: ActiveCalls,
        refusals: Refusals,
        incoming: IncomingMap,
        served: ServedMethod,
        rows: list[Any],
        full: Callable[[Session], str],
    ) -> None:
        self.host = host
        self.refusals = refusals
        self.incoming = incoming
        self.served = served
        self.rows = enumerate(rows)
        self.full = full
        self.block: list[Any] = []  # results of successive calls, not packed yet
        self.first = 0  # place of the block's first result
        self.bytes = 0  # of the results checked so far
        self.taken = 0  # results checked so far
        self.step = FIRST_STEP
        self.looked = self.flushed = incoming.came

    def run(self, context: Context, end: float) -> bool:
        """Run calls in `context` until the time `end`, or until one sets a variable there.

        True once all have run.
        """
        host, served, incoming, block = self.host, self.served, self.incoming, self.block
        method, generation, ends = served.method, forks.generation, served.ends
        batch.set(InlineBatch(incoming.own, incoming.came, host))
        handling.set(incoming.message)
        next_look = 0
        for place, args in self.rows:
            try:
                result = method.function(*args)
            except BaseException as error:
                host.came_back(method.name, error)
                self._odd(place, None, error)
            else:
                if generation != forks.generation:
                    host.came_back(method.name)
                kind = type(result)
                if kind in VALUES:
                    block.append(result)
                    if ends is not None:
                        ends.append(time.monotonic())
                    if (kind is bytes or kind is str) and len(result) > LARGE:
                        next_look = place
                else:
                    self._odd(place, result, None)
            if len(context) > 2:
                return False
            if place >= next_look:
                now = time.monotonic()
                self._look(now)
                next_look = place + self.step
                if incoming.ended:
                    return True
                if now >= end:
                    return False
        self._flush()
        return True

    def _look(self, now: float) -> None:
        """Check the results since the last check, and the time."""
        incoming = self.incoming
        size = _size(self.block[self.taken :])
        self.taken = len(self.block)
        self.bytes += size
        short = now - self.looked < LONG_STEP and size < LARGE_STEP
        self.step = min(2 * self.step, STEP) if short else max(self.step // 2, 1)
        self.looked = now
        if self.bytes >= ANSWER_BYTES or now - self.flushed > SOON:
            self._flush()
            self.flushed = now
        if incoming.is_late():
            name = self.served.method.name
            self._refuse_rest(
                errors.DeadlineExceeded(f"{name}: its deadline passed before it started")
            )
        elif full := self.full(incoming.session):
            self._refuse_rest(errors.ResourceExhausted(full))

    def _flush(self) -> None:
        """Pass the results so far to the map's session."""
        served, own = self.served, self.incoming.own
        block, first = self.block.copy(), self.first
        self.block.clear()
        self.first, self.bytes, self.taken = first + len(block), 0, 0
        if block and not self.incoming.ended:
            served.statistics.calls += len(block)
            packed = packed_together(block, min(2 * ANSWER_BYTES, own.max_size))
            if packed is not None:
                own.put_together(first, packed, len(block))
            else:
                for place, result in enumerate(block, first):
                    self._put(place, result)
        served.statistics.took(time.monotonic() - self.incoming.came)
        if served.ends:
            self.host.observer.ran_at_once(served, self.incoming.came)
        self.host.tell(own)

    def _put(self, place: int, result: Any) -> None:
        try:
            packed = pack(result, self.incoming.own.max_size)
        except BaseException:
            self.served.statistics.calls -= 1  # `_finish` counts it
            if self.served.ends:
                self.served.ends.pop()
            self._finish(place, result, None)
        else:
            self.incoming.own.put(place, packed)

    def _odd(self, place: int, result: Any, error: BaseException | None) -> None:
        """Process an error, or a result that is not plain."""
        if self.block:
            self._flush()
        self.first += 1
        self._finish(place, result, error)

    def _finish(self, place: int, result: Any, error: BaseException | None) -> None:
        """Finish a call on the slower path of a single call."""
        incoming = self.incoming
        call = incoming.call(place, NOTHING)
        self.host.finish_inline(incoming.own, call, self.served, result, error, incoming.came)

    def _refuse_rest(self, error: errors.CallError) -> None:
        self._flush()
        for place, _ in self.rows:
            self.refusals.refuse(self.incoming.own, self.incoming.call(place, NOTHING), error)
        self.host.tell(self.incoming.own)
