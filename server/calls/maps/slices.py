"""The calls of a map of a worker method, in slices: a worker runs one after the other for a short while, as one call of the scheduler's.

So what a hand-over costs is shared by all that a worker does in that while, and clients, priorities, limits and resources count as they
do for any call. Calls that take long are given to more workers.
"""

from __future__ import annotations

import concurrent.futures
import time
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context
from operator import length_hint
from typing import TYPE_CHECKING, Any

from msgspec import Raw

from .... import errors
from ....handling import handling
from ....protocol.messages import Failure
from ....protocol.values import NOTHING
from ....runtime import forks
from ..invocations.batches import GREENLET_SLICE
from ..invocations.invocation import Invocation
from .session import ANSWER_BYTES, IncomingMap, packed_together

if TYPE_CHECKING:
    from ...methods.table import ServedMethod
    from ..active import ActiveCalls

# Seconds for which a thread goes on with calls of one map.
SLICE = 0.002

# Seconds from which on calls are long enough to be worth a worker each.
LONG = 0.0005


class SlicedMap:
    """A map's calls, whose arguments are `rows`. Its slices take `places` in their own threads. `tell_seconds` is told how long a call
    takes."""

    def __init__(
        self,
        host: ActiveCalls,
        incoming: IncomingMap,
        served: ServedMethod,
        rows: list[Any],
        tell_seconds: Callable[[float], object],
    ) -> None:
        self.host = host
        self.incoming = incoming
        self.served = served
        self.rows = rows
        self.places = iter(range(len(rows)))  # one step of it is atomic
        self.slice = GREENLET_SLICE if host.loop.cooperative else SLICE
        self._tell_seconds = tell_seconds
        self._slices = 0  # that were started
        self._running: set[Slice] = set()
        queue = served.queue
        assert queue is not None
        assert queue.pool is not None
        self._workers = queue.pool.workers

    def begin(self, seconds: float) -> None:
        """`seconds`: what such a call took last."""
        if self.rows:
            self._start(self._workers if seconds >= LONG else 1)

    def spread(self) -> None:
        """A slice does not get on: other workers are to take the calls behind it."""
        if not self.incoming.ended:
            self._start(self._workers)

    def ended(self, part: Slice) -> None:
        """A slice has run."""
        host, incoming, own = self.host, self.incoming, self.incoming.own
        self._running.discard(part)
        if not part.count:  # others have taken all places
            return
        self._tell_seconds(part.seconds / part.count)
        failed = len(part.failed)
        self._count(part, part.count - failed - len(part.futures), failed)
        if incoming.ended:
            return
        for place, error in part.failed:
            own.fail(place, host.failure_of(part, error))
        for place, future in part.futures:
            host.follow(own, incoming.call(place, NOTHING), self.served, future, part.came)
        if part.together is not None:
            own.put_together(part.first, part.together, part.count)
        for place, result in part.results:
            own.put(place, result)
        host.tell(own)
        if not incoming.ended:
            self._start(2 if part.seconds >= LONG * part.count else 1)

    def expire(self) -> None:
        """The time is over: calls that have ended, in slices that have not, keep their results."""
        for part in self._running:
            for place, result in part.ran.copy():
                with suppress(errors.CallError):
                    self.incoming.own.put(place, part.pack(result))
        text = f"{self.served.method.name} did not finish in time"
        self.incoming.fail_rest(Failure(errors.DeadlineExceeded.code, text, ""))

    def _start(self, wanted: int) -> None:
        coming = sum([not part.begun for part in self._running])
        left = length_hint(self.places) - coming
        for _ in range(min(wanted, left, self._workers - len(self._running))):
            self._slices += 1
            part = Slice(self, -self._slices)
            self._running.add(part)
            self._begin(part)

    def _begin(self, part: Slice) -> None:
        """Have a worker run calls, when the turn of this slice comes."""
        host, now = self.host, time.monotonic()
        part.session.calls[part.id] = part
        host.in_flight.hold(part.session.quota)
        if part.deadline is not None:
            host.expire_at(part.deadline, part)
        if host.observer.active:
            part.counted = True  # its calls are, one by one
            host.observer.begun(part)
        if host.launcher.freed:  # calls that wait for what an earlier slice has given back come first
            host.launcher.go_on(now)
        host.launcher.take(part, now)

    def _count(self, part: Slice, well: int, failed: int) -> None:
        statistics = self.served.statistics
        statistics.calls += well + failed - 1  # as the slice counts for one itself
        statistics.errors += failed
        if self.host.observer.active:
            self.host.observer.ran_slice(part, well)


class Slice(Invocation):
    """What one worker does of a map. The outcomes are those of the calls that it runs; it is itself never answered."""

    __slots__ = (
        "begun",
        "count",
        "failed",
        "first",
        "futures",
        "over",
        "ran",
        "results",
        "seconds",
        "seen",
        "sliced",
        "together",
    )

    def __init__(self, sliced: SlicedMap, number: int) -> None:
        """`number`: below 0, where no call's place is."""
        incoming, message = sliced.incoming, sliced.incoming.message
        deadline, now = incoming.deadline, time.monotonic()
        super().__init__(
            sliced.host, incoming.own, number, sliced.served, (), {}, deadline, message.options, now
        )
        self.sliced = sliced
        self.begun = self.over = False
        self.first = self.count = 0  # of the places that it has taken
        self.seen = 0  # its count at the last look
        self.seconds = 0.0
        self.ran: list[tuple[int, Any]] = []  # calls that have returned what is no future
        self.results: list[tuple[int, Any]] = []  # the same, packed
        self.failed: list[tuple[int, BaseException]] = []
        self.futures: list[tuple[int, concurrent.futures.Future[Any]]] = []
        self.together: Raw | None = None  # all results, where nothing else came of the calls

    def expire(self) -> None:
        self.sliced.expire()

    def start(self) -> None:
        super().start()
        if self.context is not None and not self.in_greenlet:  # (it is not over, as it would be when late)
            self.sliced.host.watch.add(self)

    def takes_long(self) -> None:
        """It has run for a while, perhaps with many short calls."""
        if self.context is None:
            return
        if self.seen == self.count:
            self.sliced.spread()
        else:
            self.seen = self.count
            self.sliced.host.watch.add(self)

    def _yielded(self) -> None:
        """Its greenlet does something else: it waits in a call, or has ended."""
        if not self.over:
            self.sliced.spread()

    def late(self) -> None:
        """Its map has ended, or its time is over."""
        if not self.ended:
            self.expire()
        self._over(None)

    def _report(self, result: Any, error: BaseException | None) -> None:  # noqa: ARG002
        self.host.post(self._over, error)

    def _over(self, error: BaseException | None) -> None:
        """It has run, in whatever thread. `error`: what kept it from that."""
        if self.context is None:
            return
        self.sliced.host.watch.discard(self)
        own = self.session
        if error is not None and not self.ended:
            self.sliced.incoming.fail_rest(self.sliced.host.failure_of(self, error))
        self.ended = True
        own.calls.pop(self.id, None)
        self.host.complete(self, None, None, ran=self.count > 0)
        self.sliced.ended(self)

    def _called(self) -> tuple[bool, Any]:
        """In a worker."""
        rows, host, ran = self.sliced.rows, self.sliced.host, self.ran
        if self.in_greenlet:
            self.begun = True
            host.loop.call_soon(self._yielded)
        else:
            host.watch.began(self)
        context, generation = Context(), forks.generation
        begun = time.monotonic()
        end = begun + self.sliced.slice
        for place in self.sliced.places:
            if not self.count:
                self.first = place
            self.count += 1
            try:
                result = context.run(self._one, rows[place])
            except BaseException as error:
                host.came_back(self.method.name, error)
                self.failed.append((place, error))
            else:
                if generation != forks.generation:
                    host.came_back(self.method.name)
                if isinstance(result, concurrent.futures.Future):
                    self.futures.append((place, result))
                else:
                    ran.append((place, result))
            if len(context) > 1:  # something was set there, which the next call must not see
                context = Context()
            if time.monotonic() >= end or self.ended:
                break
        self.over = True
        self.seconds = time.monotonic() - begun
        self._pack()
        return True, None

    def _one(self, row: tuple[Any, ...]) -> Any:
        handling.set(self)
        return self.method.function(*row)

    def _pack(self) -> None:
        ran = self.ran
        if not ran:
            return
        in_a_row = len(ran) == self.count and ran[-1][0] == self.first + self.count - 1
        if in_a_row and self.method.result_check is None:
            most = min(ANSWER_BYTES, self.session.max_size)
            self.together = packed_together([result for _, result in ran], most)
            if self.together is not None:
                return
        for place, result in ran:
            try:
                self.results.append((place, self.pack(result)))
            except errors.CallError as error:
                self.failed.append((place, error))
