"""Whose call runs next: calls that wait for a worker take turns by client, so that one with thousands of them holds up nobody else."""

from __future__ import annotations

from collections import deque

from ..protocol.server import Session
from .invocation import Invocation

# Calls that are handed to workers which are all busy, so that none has to wait for the loop between two calls.
AHEAD = 32


class Turns:
    """The calls for one pool of so many workers; where they are `cooperative`, greenlets of the loop's own thread, `begun` tells
    when one takes a call. A call that ended while it waited costs no worker."""

    def __init__(self, workers: int, *, cooperative: bool = False) -> None:
        self.cooperative = cooperative
        # Calls handed over and not done, less those that are at a worker: of threads all are, before any call has to wait.
        self._ahead = 0 if cooperative else -workers
        self._waiting: dict[Session, deque[Invocation]] = {}  # in the order of their turns

    def add(self, call: Invocation) -> None:
        """Begin the call when its turn comes; now, if there is room."""
        if self._ahead < AHEAD:
            self._hand_over(call)
            return
        waiting = self._waiting.get(call.session)
        if waiting is None:
            self._waiting[call.session] = deque([call])
        else:
            waiting.append(call)

    def begun(self) -> None:
        """A cooperative worker has taken a call."""
        self._ahead -= 1
        self._go_on()

    def done(self) -> None:
        """A worker has done with a call."""
        if not self.cooperative:
            self._ahead -= 1
            self._go_on()

    def _go_on(self) -> None:
        while self._waiting and self._ahead < AHEAD:
            session, waiting = next(iter(self._waiting.items()))
            del self._waiting[session]
            call = waiting.popleft()
            if waiting:
                self._waiting[session] = waiting  # behind the others
            if call.ended:
                call.dispatcher.finished(call, None, None)
            else:
                self._hand_over(call)

    def _hand_over(self, call: Invocation) -> None:
        self._ahead += 1
        call.turns = self
        call.start()
