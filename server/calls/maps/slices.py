"""Runs the calls of a map of a worker method, in slices.

In a slice, one worker runs calls one after the other for a short time. The scheduler treats a slice
as one call. So the calls share the cost of one hand-over; fairness between clients, priorities,
limits and resources apply as to any call. Long calls are spread over more workers.
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

# Seconds for which a thread runs calls of one map.
SLICE = 0.002

# Seconds from which a call is worth a worker of its own.
LONG = 0.0005


class SlicedMap:
    """The calls of one map; `rows` has their arguments.

    The slices take `places` in their own threads. `tell_seconds` receives the mean seconds of a
    call after each slice.
    """

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
        self.places = iter(range(len(rows)))  # threads share it: `next` is atomic
        self.slice = GREENLET_SLICE if host.loop.cooperative else SLICE
        self._tell_seconds = tell_seconds
        self._slices = 0  # slices started
        self._running: set[Slice] = set()
        queue = served.queue
        assert queue is not None
        assert queue.pool is not None
        self._workers = queue.pool.workers

    def begin(self, seconds: float) -> None:
        """Start the first slices. `seconds`: the running time of such a call, as last measured."""
        if self.rows:
            self._start(self._workers if seconds >= LONG else 1)

    def spread(self) -> None:
        """Give the remaining calls to other workers, since a slice makes no progress."""
        if not self.incoming.ended:
            self._start(self._workers)

    def ended(self, part: Slice) -> None:
        """Process the outcomes of a slice that has run."""
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
        """Fail the calls that have not ended, as the deadline has passed.

        Finished calls of slices that still run keep their results.
        """
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
        """Schedule a slice."""
        host, now = self.host, time.monotonic()
        part.session.calls[part.id] = part
        host.in_flight.hold(part.session.quota)
        if part.deadline is not None:
            host.expire_at(part.deadline, part)
        if host.observer.active:
            part.counted = True  # its calls are recorded one by one
            host.observer.begun(part)
        if host.launcher.freed:  # calls that wait for resources of an earlier slice come first
            host.launcher.go_on(now)
        host.launcher.take(part, now)

    def _count(self, part: Slice, well: int, failed: int) -> None:
        statistics = self.served.statistics
        statistics.calls += well + failed - 1  # `complete` counts the slice itself as one
        statistics.errors += failed
        if self.host.observer.active:
            self.host.observer.ran_slice(part, well)


class Slice(Invocation):
    """A part of a map that one worker runs. Its calls get replies; it gets none itself."""

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
        """`number` is its id: below 0, so that it differs from the place of any call."""
        incoming, message = sliced.incoming, sliced.incoming.message
        deadline, now = incoming.deadline, time.monotonic()
        super().__init__(
            sliced.host, incoming.own, number, sliced.served, (), {}, deadline, message.options, now
        )
        self.sliced = sliced
        self.begun = self.over = False
        self.first = self.count = 0  # of the places taken
        self.seen = 0  # `count` at the last check
        self.seconds = 0.0
        self.ran: list[tuple[int, Any]] = []  # calls that returned a plain result
        self.results: list[tuple[int, Any]] = []  # the same, packed
        self.failed: list[tuple[int, BaseException]] = []
        self.futures: list[tuple[int, concurrent.futures.Future[Any]]] = []
        self.together: Raw | None = None  # all results in one piece, if every call has one

    def expire(self) -> None:
        self.sliced.expire()

    def start(self) -> None:
        super().start()
        if self.context is not None and not self.in_greenlet:  # not ended at once, as a late one is
            self.sliced.host.watch.add(self)

    def takes_long(self) -> None:
        """Spread the map if the slice is still at the same call as at the last check."""
        if self.context is None:
            return
        if self.seen == self.count:
            self.sliced.spread()
        else:
            self.seen = self.count
            self.sliced.host.watch.add(self)

    def _yielded(self) -> None:
        """The loop runs again: the greenlet waits inside a handler, or has ended."""
        if not self.over:
            self.sliced.spread()

    def late(self) -> None:
        """End a slice whose map has ended, or whose deadline has passed, before it started."""
        if not self.ended:
            self.expire()
        self._over(None)

    def _report(self, result: Any, error: BaseException | None) -> None:  # noqa: ARG002
        self.host.post(self._over, error)

    def _over(self, error: BaseException | None) -> None:
        """End the slice, on the serving loop. `error` kept it from running; None if it ran."""
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
        """Run calls until the time of the slice is used up. In a worker."""
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
            if len(context) > 1:  # the next call must not see variables set there
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
