"""Calls that wait for what they need to run: when they begin, and what they give back."""

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

# Calls that were given up are swept from those that wait when there are so many.
_SWEPT = 1024

_BEGIN = Decision.BEGIN  # looked up once (see protocol/server.py)


class Launcher:
    """Of one server. `refuse` ends a call that was accepted and will not begin."""

    def __init__(
        self,
        methods: MethodTable,
        loop: Loop,
        in_flight: InFlight,
        refuse: Callable[[Invocation, errors.CallError], object],
    ) -> None:
        self.freed = False  # whether calls have given back what others may wait for
        self._methods = methods
        self._scheduler = methods.scheduler
        self._loop = loop
        self._refuse = refuse
        self._given_up = 0  # calls that were, since those that wait were last swept
        self._in_flight = in_flight

    def take(self, call: Invocation, now: float) -> None:
        """Begin the call, or let it wait for what it needs."""
        if call.queue is None:
            call.begin()
            return
        options, priority = call.options, call.method.priority
        call.priority = priority if options is None else self._methods.priority(priority, options.priority)
        verdict = self._scheduler.add(call, now)
        if verdict is _BEGIN:
            call.begin()
        elif verdict is Decision.SHED:
            self._shed(call)

    def ended(self, call: Invocation, now: float, *, ran: bool) -> None:
        """A call that held something has ended."""
        self._scheduler.finished(call, now, ran=ran)
        self.freed = True

    def go_on(self, now: float) -> None:
        """Something is free again: begin what may begin now."""
        self.freed = True
        while self.freed:  # what begins may be over at once, and leave its place to another
            self.freed = False
            for call in self._scheduler.following(now):
                if call.held:
                    call.begin()
                else:
                    self._shed(call)

    def look(self, now: float) -> None:
        """From time to time."""
        self._methods.look(now)
        self.go_on(now)

    def release_worker(self, call: Invocation) -> None:
        """A call no longer needs its worker."""
        queue = call.queue
        assert queue is not None
        assert queue.pool is not None
        self._scheduler.release(call, queue.pool)
        self.go_on(time.monotonic())

    def sets_aside(self, batch: Invocation) -> list[Invocation]:
        """A batch takes long: it no longer counts among those that are handed to workers at once. Returns its client's batches of that
        method, which wait no longer."""
        queue, now = batch.queue, time.monotonic()
        assert queue is not None
        assert queue.pool is not None
        waiting = self._scheduler.withdraw(queue, batch.session, now)
        self._scheduler.release(batch, queue.pool.batches)
        self.go_on(now)
        return waiting

    def postpone(self, call: Invocation, seconds: float) -> None:
        """A call waits for what another does: give others its place, and let it look again after so many seconds."""
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
        """A greenlet has taken a call of its pool: its place at the door is free."""
        queue = call.queue
        assert queue is not None
        assert queue.pool is not None
        door = queue.pool.door
        assert door is not None
        # (not by `release`, which takes a microsecond, nor looking for others each time: many calls are shorter)
        door.taken -= 1
        call.held = queue.inside
        if 2 * door.taken <= door.total:
            self.go_on(time.monotonic())

    def given_up(self) -> None:
        """A call has ended that may still have to wait. Those who do are many, where what they wait for is held for long."""
        self._given_up += 1
        if self._given_up >= max(_SWEPT, self._in_flight.calls // 2):
            self._given_up = 0
            for call in self._scheduler.swept():
                self._shed(call)

    def _shed(self, call: Invocation) -> None:
        """A call that will not begin: it has ended, or could not end in its time."""
        if call.ended:
            call.drop()
        else:
            text = f"{call.method.name} would not end in time: the server has too many calls"
            self._refuse(call, errors.ResourceExhausted(text))
