"""Resources that running calls take: workers, slots under a limit, and resources of the user's.

No loop, no clock.
"""

from __future__ import annotations

from collections.abc import Mapping

from ...errors import UsageError

# Integer units per 1.0 of a user's resource: integers make returned and taken amounts exactly
# equal.
_PARTS = 1_000_000

# Extra calls that wait at busy workers, so that no worker waits for the loop between two short
# calls: as many as end in AHEAD_SECONDS, at most AHEAD. A call of higher priority has to wait
# behind them.
AHEAD = 32
AHEAD_SECONDS = 0.001
# Batches that workers, or greenlets, hold at once: enough that no worker waits for the loop between
# two batches, and few enough that a client with thousands of calls gains almost no lead over
# others.
BATCHES, GREENLET_BATCHES = 3, 2
# Seconds of one count of ended calls, and seconds without waiting calls after which the count is
# stale.
_COUNTED = 0.005
_REST = 1.0


class Resource:
    """A counted resource; running calls hold `taken` units of `total`."""

    __slots__ = ("name", "taken", "total")

    def __init__(self, name: str, total: int) -> None:
        self.name = name
        self.total = total
        self.taken = 0


Needs = tuple[tuple[Resource, int], ...]


class Pool(Resource):
    """Workers, and extra calls that go to them before one is free.

    `cooperative`: the workers are greenlets of the loop's own thread, and the loop starts all of
    them in one turn. Then the pool does not count calls beyond the workers; its `door` counts calls
    that no worker has taken yet.
    """

    __slots__ = ("_ahead", "_rests", "_since", "batches", "door", "ended", "needs", "workers")

    def __init__(self, name: str, workers: int, *, cooperative: bool = False) -> None:
        super().__init__(name, workers)
        self.workers = workers
        self.door = Resource(f"{name} door", 1) if cooperative else None
        self.batches = Resource(f"{name} batches", GREENLET_BATCHES if cooperative else BATCHES)
        self.needs: Needs = ((self, 1),) if self.door is None else ((self, 1), (self.door, 1))
        self._ahead = 0
        self._rests = 0.0
        self.ended = 0  # ended calls, counted by the code that ends them
        # Start of the count; 0 while nothing waits, as ended calls then only show the rate of
        # arrival.
        self._since = 0.0

    def idle(self, now: float) -> None:
        """Note that no call waits any more."""
        self._since, self._rests = 0.0, now

    def look(self, now: float) -> None:
        """Periodic check: after a while without waiting calls, the next ones may be long."""
        if not self._since and self._ahead and now - self._rests > _REST:
            self._ahead = 0
            self._hand_over()

    def adapt(self, now: float) -> None:
        """While calls wait: adjust the number of extra calls to the rate of ended ones."""
        passed = now - self._since
        if not self._since:
            self.ended, self._since = 0, now
        elif passed >= _COUNTED:
            # Shrink by at most half: one slow window may have other causes.
            self._ahead = max(
                min(AHEAD, int(self.ended / passed * AHEAD_SECONDS)), self._ahead // 2
            )
            self._hand_over()
            self.ended, self._since = 0, now

    def _hand_over(self) -> None:
        if self.door is None:
            self.total = self.workers + self._ahead
        else:
            self.door.total = max(1, self._ahead)


class Named:
    """The resources in a server's options, by name."""

    def __init__(self, totals: Mapping[str, float]) -> None:
        self.resources = {name: Resource(name, _parts(total)) for name, total in totals.items()}

    def needs(self, amounts: Mapping[str, float]) -> tuple[Needs, str]:
        """The needs for these amounts, and why such a call can never run ("" if it can)."""
        found = []
        for name, amount in amounts.items():
            resource = self.resources.get(name)
            if resource is None:
                return (), f"it needs {amount:g} of {name!r}, which this server has not been given"
            if _parts(amount) > resource.total:
                return (
                    (),
                    (
                        f"it needs {amount:g} of {name!r}, of which this server has "
                        f"{resource.total / _PARTS:g}"
                    ),
                )
            found.append((resource, _parts(amount)))
        return tuple(found), ""

    def used(self) -> dict[str, dict[str, float]]:
        """The taken amount and the total of each resource."""
        return {
            name: {"taken": each.taken / _PARTS, "total": each.total / _PARTS}
            for name, each in self.resources.items()
        }


def checked(amounts: Mapping[str, float], owner: str) -> dict[str, float]:
    """The amounts by name, checked. Raises UsageError."""
    if not isinstance(amounts, Mapping):
        raise UsageError(
            f"{owner}: resources must be amounts by name, such as {{'db': 1}}, not {amounts!r}"
        )
    for name, amount in amounts.items():
        number = isinstance(amount, (int, float)) and not isinstance(amount, bool)
        if not isinstance(name, str) or not name or not number or not 1 / _PARTS <= amount <= 1e12:
            raise UsageError(
                f"{owner}: bad resource {name!r}: {amount!r}: it must be a name and a number "
                f"above 0"
            )
    return dict(amounts)


def _parts(amount: float) -> int:
    return round(amount * _PARTS)
