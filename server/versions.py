"""The versions that calls have seen, for who asks: what an answer is told with, and the calls that wait until a replica has caught up.

It lives on the serving loop, but for `seen_by`, which is called wherever a handler runs.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from .. import errors, forks
from ..backends import native
from ..balancing import versions as seen
from ..protocol.messages import CallOptions, Reached
from ..state.replica import ReplicaEngine
from ..state.store import State

if TYPE_CHECKING:
    from .dispatcher import Dispatcher
    from .invocation import Invocation

# Seconds for which a call waits for a replica, at most: then another server is the better answer.
PATIENCE = 0.5

_learning = forks.freed(native.allocate_lock())


def asked(options: CallOptions | None) -> dict[str, int] | None:
    """What the caller has seen, as what the call has seen from its beginning; None where it has not asked."""
    return None if options is None or options.versions is None else dict(options.versions)


def learn(known: dict[str, int], versions: Mapping[str, int]) -> None:
    """Keep the highest of each, from whatever thread."""
    with _learning:
        seen.learn(known, versions)


class Versions:
    """Those of one server's own service, as its state knows them."""

    def __init__(self, service: str, state: State | None, dispatcher: Dispatcher) -> None:
        self._service = service
        self._state = state
        self._replica = None
        if state is not None and isinstance(state.engine, ReplicaEngine):
            self._replica = state.engine
        self._dispatcher = dispatcher

    @property
    def of_replica(self) -> bool:
        return self._replica is not None

    def wanted(self, call: Invocation) -> int:
        """The version of this service's data that the caller has seen; 0 where that does not matter here."""
        options = call.options
        if self._state is None or options is None or options.versions is None:
            return 0
        return options.versions.get(self._service, 0)

    def reached(self, call: Invocation) -> int:
        """The version that a handler will see at least which begins now. What its caller has seen is there: on a replica the call has
        waited for it."""
        return 0 if self._state is None else max(self._state.reached, self.wanted(call))

    def told(self, call: Invocation) -> Reached | None:
        """What comes just before the end of the call; None for a caller who has not asked."""
        known = call.versions
        if known is None:
            return None
        if self._state is not None:
            learn(known, {self._service: self._state.reached})
        return Reached(call.id, dict(known))

    def wait(self, call: Invocation) -> bool:
        """Whether the call has to wait for this replica. It begins, or is refused, by itself; it has been accepted, and holds nothing."""
        replica, version = self._replica, self.wanted(call)
        if replica is None or version <= replica.reached:
            return False
        seconds, dispatcher = PATIENCE, self._dispatcher
        if call.deadline is not None:
            seconds = max(0.0, min(seconds, call.deadline - time.monotonic()))
        over = False

        def caught_up() -> None:
            nonlocal over
            if not over:
                over = True
                timer.cancel()
                dispatcher.go_on_with(call)

        def too_late() -> None:
            nonlocal over
            if not over:
                over = True
                replica.call_off(number)
                behind = version - replica.reached
                error = errors.Unavailable(
                    f"this replica is {behind:,} behind version {version:,}, which the caller has seen",
                    started=False,
                )
                dispatcher.refuse(call, error)

        timer = dispatcher.loop.call_later(seconds, too_late)
        number = replica.when_reached(version, lambda: dispatcher.post(caught_up))
        return True
