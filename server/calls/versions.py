"""Data versions: those that calls have seen, for callers that ask, and those a replica has reached.

Use all of it on the serving loop, except for `learn`, which is thread-safe. The dispatcher does the
waiting for a version.
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
    """A copy of the versions that the caller has seen. None if it has not asked for versions."""
    return None if options is None or options.versions is None else dict(options.versions)


def learn(known: dict[str, int], versions: Mapping[str, int]) -> None:
    """Merge `versions` into `known`, keeping the highest of each service. Thread-safe."""
    with _learning:
        seen.learn(known, versions)


class ServiceVersions:
    """The data versions of one server's own service, read from its state."""

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
        """The version of this service's data that the caller has seen.

        0 if there is no state, or the caller has not asked for versions.
        """
        if self._state is None or options is None or options.versions is None:
            return 0
        return options.versions.get(self._service, 0)

    def reached(self, options: CallOptions | None) -> int:
        """The lowest version that a handler starting now can see.

        It is at least the caller's: on a replica, the call has waited for that version.
        """
        return 0 if self._state is None else max(self._state.reached, self.wanted(options))

    def told(self, id_: int, known: dict[str, int]) -> Reached:
        """The message that reports versions to a caller that asked, just before the call's end."""
        if self._state is not None:
            learn(known, {self._service: self._state.reached})
        return Reached(id_, dict(known))

    def lacks(self, options: CallOptions | None) -> int:
        """The version that this replica must reach before the call can start; 0 if none."""
        version = self.wanted(options)
        return 0 if self._replica is None or version <= self._replica.reached else version

    def when_reached(self, version: int, function: Callable[[], object]) -> Callable[[], int]:
        """Call `function`, in any thread, when this replica has reached `version`.

        Returns a function that cancels this and returns the number of versions still missing.
        """
        replica = self._replica
        assert replica is not None
        number = replica.when_reached(version, function)

        def call_off() -> int:
            replica.call_off(number)
            return version - replica.reached

        return call_off
