"""The versions of a service's data that calls have seen, for callers that ask, and those that a replica has reached.

All is used on the serving loop, but for `learn`, which is called wherever a handler runs. The dispatcher owns the wait for a version.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ...backends import native
from ...balancing import versions as seen
from ...protocol.messages import CallOptions, Reached
from ...runtime import forks
from ...state.engines.replica import ReplicaEngine
from ...state.store import State

_learning = forks.freed(native.allocate_lock())


def asked(options: CallOptions | None) -> dict[str, int] | None:
    """What the caller has seen, as what the call has seen from its beginning; None where it has not asked."""
    return None if options is None or options.versions is None else dict(options.versions)


def learn(known: dict[str, int], versions: Mapping[str, int]) -> None:
    """Keep the highest of each, from whatever thread."""
    with _learning:
        seen.learn(known, versions)


class ServiceVersions:
    """Those of one server's own service, as its state knows them."""

    def __init__(self, service: str, state: State | None) -> None:
        self._service = service
        self._state = state
        self._replica = None
        if state is not None and isinstance(state.engine, ReplicaEngine):
            self._replica = state.engine

    @property
    def of_replica(self) -> bool:
        return self._replica is not None

    def wanted(self, options: CallOptions | None) -> int:
        """The version of this service's data that the caller has seen; 0 where that does not matter here."""
        if self._state is None or options is None or options.versions is None:
            return 0
        return options.versions.get(self._service, 0)

    def reached(self, options: CallOptions | None) -> int:
        """The version that a handler will see at least which begins now. What its caller has seen is there: on a replica the call has
        waited for it."""
        return 0 if self._state is None else max(self._state.reached, self.wanted(options))

    def told(self, id_: int, known: dict[str, int]) -> Reached:
        """The message just before the end of a call whose caller has asked."""
        if self._state is not None:
            learn(known, {self._service: self._state.reached})
        return Reached(id_, dict(known))

    def lacks(self, options: CallOptions | None) -> int:
        """The version that this replica has to reach before the call can begin; 0 where it has reached it."""
        version = self.wanted(options)
        return 0 if self._replica is None or version <= self._replica.reached else version

    def when_reached(self, version: int, function: Callable[[], object]) -> Callable[[], int]:
        """Have the function called, in any thread, when this replica has reached the version. Returns the function that calls that off, and
        tells how far behind it is."""
        replica = self._replica
        assert replica is not None
        number = replica.when_reached(version, function)

        def call_off() -> int:
            replica.call_off(number)
            return version - replica.reached

        return call_off
