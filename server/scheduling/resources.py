"""What calls need in order to run, so much of each: workers, places under a limit, and what a user names. No loop, no clock."""

from __future__ import annotations

from collections.abc import Mapping

from ...errors import UsageError

# What users name is counted in whole parts of this size, so that what is given back is exactly what was taken.
_PARTS = 1_000_000

# Calls that are handed to workers which are all busy, so that none has to wait for the loop between two short calls: as many as end in
# so many seconds, and no more than so many. Who comes with a higher priority has to wait for them.
AHEAD = 32
AHEAD_SECONDS = 0.001
# Batches of calls that are handed to workers at once, and to greenlets: enough that none waits for the loop between two, and so few that a
# client with thousands of calls has hardly any ahead of others.
BATCHES, GREENLET_BATCHES = 3, 2
# Seconds for which ended calls are counted, and after which nothing is known any more.
_COUNTED = 0.005
_REST = 1.0


class Resource:
    """Something of which calls that run take a part: `taken` of `total`."""

    __slots__ = ("name", "taken", "total")

    def __init__(self, name: str, total: int) -> None:
        self.name = name
        self.total = total
        self.taken = 0


Needs = tuple[tuple[Resource, int], ...]


class Pool(Resource):
    """So many workers, and some calls more that are handed over before a worker is free for them.

    Where they are `cooperative`, greenlets of the loop's own thread, the loop runs in one go what it has been handed: there, it is not
    those beyond the workers that are counted but, by the `door`, those that no worker has taken yet.
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
        self.ended = 0  # calls that are over, counted by who ends them
        self._since = 0.0  # 0 where nothing waits, so that what ends tells only how many calls come

    def idle(self, now: float) -> None:
        """No call waits any more."""
        self._since, self._rests = 0.0, now

    def look(self, now: float) -> None:
        """From time to time: when nothing has waited for a while, the next calls may be long ones."""
        if not self._since and self._ahead and now - self._rests > _REST:
            self._ahead = 0
            self._hand_over()

    def adapt(self, now: float) -> None:
        """While calls wait: hand over as many ahead as have ended lately in so short a time."""
        passed = now - self._since
        if not self._since:
            self.ended, self._since = 0, now
        elif passed >= _COUNTED:
            # (half of what it was at the least: one short window may have had other reasons)
            self._ahead = max(min(AHEAD, int(self.ended / passed * AHEAD_SECONDS)), self._ahead // 2)
            self._hand_over()
            self.ended, self._since = 0, now

    def _hand_over(self) -> None:
        if self.door is None:
            self.total = self.workers + self._ahead
        else:
            self.door.total = max(1, self._ahead)


class Named:
    """The resources that a server was given, by name."""

    def __init__(self, totals: Mapping[str, float]) -> None:
        self.resources = {name: Resource(name, _parts(total)) for name, total in totals.items()}

    def needs(self, amounts: Mapping[str, float]) -> tuple[Needs, str]:
        """What so much of each is; and, in words, why a call that needs it can never run: "" where it can."""
        found = []
        for name, amount in amounts.items():
            resource = self.resources.get(name)
            if resource is None:
                return (), f"it needs {amount:g} of {name!r}, which this server has not been given"
            if _parts(amount) > resource.total:
                return (
                    (),
                    f"it needs {amount:g} of {name!r}, of which this server has {resource.total / _PARTS:g}",
                )
            found.append((resource, _parts(amount)))
        return tuple(found), ""

    def used(self) -> dict[str, dict[str, float]]:
        """What is taken of each, and what there is."""
        return {
            name: {"taken": each.taken / _PARTS, "total": each.total / _PARTS}
            for name, each in self.resources.items()
        }


def checked(amounts: Mapping[str, float], owner: str) -> dict[str, float]:
    """The amounts by name, if they are such. Raises UsageError."""
    if not isinstance(amounts, Mapping):
        raise UsageError(f"{owner}: resources must be amounts by name, such as {{'db': 1}}, not {amounts!r}")
    for name, amount in amounts.items():
        number = isinstance(amount, (int, float)) and not isinstance(amount, bool)
        if not isinstance(name, str) or not name or not number or not 1 / _PARTS <= amount <= 1e12:
            raise UsageError(
                f"{owner}: bad resource {name!r}: {amount!r}: it must be a name and a number above 0"
            )
    return dict(amounts)


def _parts(amount: float) -> int:
    return round(amount * _PARTS)
