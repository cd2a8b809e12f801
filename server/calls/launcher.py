"""Starts calls when the scheduler allows it, and returns what they held to the scheduler."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from ... import errors
from ...backends.base import Loop
from ...protocol.inflight import InFlight
from ..scheduling.scheduler import Decision

if TYPE_CHECKING:
    from ..methods.table import MethodTable
    from .invocations.invocation import Invocation

# Minimum number of cancelled calls before a sweep removes them from the queues.
_SWEPT = 1024

_BEGIN = Decision.BEGIN  # looked up once (see protocol/server.py)


class Launcher:
    """The launcher of one server. `refuse` ends an accepted call that will not start."""

    def __init__(
        self,
        methods: MethodTable,
        loop: Loop,
        in_flight: InFlight,
        refuse: Callable[[Invocation, errors.CallError], object],
    ) -> None:
        self.freed = False  # whether calls have released anything that others may wait for
        self._methods = methods
        self._scheduler = methods.scheduler
        self._loop = loop
        self._refuse = refuse
        self._given_up = 0  # calls cancelled since the last sweep
        self._in_flight = in_flight

    def take(self, call: Invocation, now: float) -> None:
        """Start the call, or queue it until its resources are free."""
        if call.queue is None:
            call.begin()
            return
        options, priority = call.options, call.method.priority
        call.priority = (
            priority if options is None else self._methods.priority(priority, options.priority)
        )
        verdict = self._scheduler.add(call, now)
        if verdict is _BEGIN:
            call.begin()
        elif verdict is Decision.SHED:
            self._shed(call)

    def ended(self, call: Invocation, now: float, *, ran: bool) -> None:
        """Release the resources of a call that has ended."""
        self._scheduler.finished(call, now, ran=ran)
        self.freed = True

    def go_on(self, now: float) -> None:
        """Start the calls that can start now that resources are free."""
        self.freed = True
        while self.freed:  # a call may end at once and free its place
            self.freed = False
            for call in self._scheduler.following(now):
                if call.held:
                    call.begin()
                else:
                    self._shed(call)

    def look(self, now: float) -> None:
        """Periodic check of the queues."""
        self._methods.look(now)
        self.go_on(now)

    def release_worker(self, call: Invocation) -> None:
        """Release the worker of a call that no longer needs it."""
        queue = call.queue
        assert queue is not None
        assert queue.pool is not None
        self._scheduler.release(call, queue.pool)
        self.go_on(time.monotonic())

    def sets_aside(self, batch: Invocation) -> list[Invocation]:
        """Release the batch slot of a batch that takes long, though it still runs.

        Removes the client's waiting batches of the same method from the queue, and returns them.
        """
        queue, now = batch.queue, time.monotonic()
        assert queue is not None
        assert queue.pool is not None
        waiting = self._scheduler.withdraw(queue, batch.session, now)
        self._scheduler.release(batch, queue.pool.batches)
        self.go_on(now)
        return waiting

    def postpone(self, call: Invocation, seconds: float) -> None:
        """Retry a call after `seconds`, since it depends on another call.

        It releases its resources meanwhile.
        """
        now = time.monotonic()
        if call.held:
            self._scheduler.finished(call, now, ran=False)
            self.go_on(now)
        call.handle = None
        self._loop.call_later(seconds, self._look_again, call)

    def _look_again(self, call: Invocation) -> None:
        if call.ended:
            call.drop()
        else:
            self.take(call, time.monotonic())

    def taken(self, call: Invocation) -> None:
        """Free the pool's door, now that a greenlet has taken the call."""
        queue = call.queue
        assert queue is not None
        assert queue.pool is not None
        door = queue.pool.door
        assert door is not None
        # Many calls are shorter than `release`, which takes a microsecond. So this does it directly
        # and looks for others only once half of the door is free.
        door.taken -= 1
        call.held = queue.inside
        if 2 * door.taken <= door.total:
            self.go_on(time.monotonic())

    def given_up(self) -> None:
        """Count a call that was cancelled, perhaps while it waited.

        Sweeps such calls from the queues when there are many, since what they wait for may be held
        for long.
        """
        self._given_up += 1
        if self._given_up >= max(_SWEPT, self._in_flight.calls // 2):
            self._given_up = 0
            for call in self._scheduler.swept():
                self._shed(call)

    def _shed(self, call: Invocation) -> None:
        """End a call that will not start: it has ended already, or would miss its deadline."""
        if call.ended:
            call.drop()
        else:
            text = f"{call.method.name} would not end in time: the server has too many calls"
            self._refuse(call, errors.ResourceExhausted(text))
