"""Whether a recorded history could have been: each operation at one moment between its call and its
return, on one register a key.

Just-in-time linearization (Wing & Gong 1993; Lowe 2017): time is walked along once, with all states
the register can be in and which of
the operations under way have had their effect. Keys are independent, so each is searched alone
(Herlihy & Wing's locality).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from math import inf
from typing import Any, NamedTuple


class Operation(NamedTuple):
    """`read` returned `result`; `write` stored `argument`; `cas` stored the second of `argument`
    where the first was, if `result`.

    `ended` is inf where nobody knows what became of it: then it had its effect at some time after
    `begun`, or has none; `result` does
    not count. `version` is what the store gave with it, 0 where nothing was stored or found.
    """

    kind: str
    key: str
    argument: Any
    result: Any
    begun: float
    ended: float
    version: int = 0

    @property
    def unknown(self) -> bool:
        return self.ended == inf

    @property
    def stores(self) -> Any:
        return self.argument if self.kind == "write" else self.argument[1]

    @property
    def only_looks(self) -> bool:
        """Whether it surely has changed nothing."""
        return self.kind == "read" or (self.kind == "cas" and not self.unknown and not self.result)

    def applied(self, value: Any) -> tuple[bool, Any]:
        """Whether it can have been done to a register of this value, and the value then."""
        if self.kind == "read":
            return self.unknown or self.result == value, value
        if self.kind == "write":
            return True, self.argument
        expected, new = self.argument
        fits = value == expected
        return self.unknown or fits == self.result, new if fits else value


def linearizable(history: Iterable[Operation], initial: Any = None) -> bool:
    """Values must be hashable."""
    keys: dict[str, list[Operation]] = defaultdict(list)
    for operation in history:
        keys[operation.key].append(operation)
    return all(_register(operations, initial) for operations in keys.values())


def _register(operations: list[Operation], initial: Any) -> bool:
    under_way: dict[int, Operation] = {}
    # Where the register can stand: its value, and those under way that have had their effect.
    worlds = {(initial, frozenset[int]())}
    operations = [each for each in operations if each.kind != "read" or not each.unknown]
    for number, returns in _moments(operations):
        if not returns:
            under_way[number] = operations[number]
            continue
        worlds = _with(number, under_way, worlds)
        if not worlds:
            return False
        del under_way[number]
    return True


def _moments(operations: list[Operation]) -> Iterator[tuple[int, bool]]:
    """Calls and returns in the order of time; of one moment the calls first, as those may have been
    at once.
    """
    calls = [(each.begun, False, number) for number, each in enumerate(operations)]
    returns = [
        (each.ended, True, number) for number, each in enumerate(operations) if not each.unknown
    ]
    for _, is_return, number in sorted(calls + returns):
        yield number, is_return


def _with(
    number: int, under_way: dict[int, Operation], worlds: set[tuple[Any, frozenset[int]]]
) -> set[tuple[Any, frozenset[int]]]:
    """The worlds in which that operation has had its effect, which is over then, by all ways there."""
    seen, left, reached = set(worlds), list(worlds), set()
    while left:
        value, done = left.pop()
        if number in done:
            reached.add((value, done - {number}))
            continue
        steps = []
        for each, operation in under_way.items():
            if each in done:
                continue
            possible, then = operation.applied(value)
            if possible and operation.only_looks:
                steps = [(value, done | {each})]  # best done at once: no other way leads further
                break
            if possible and (then != value or not operation.unknown):
                steps.append((then, done | {each}))
        for world in steps:
            if world not in seen:
                seen.add(world)
                left.append(world)
    return reached


def in_order_of_versions(history: Iterable[Operation]) -> bool:
    """Whether the versions are an order of all the changes, across keys, that real time allows, and
    each read has the value that was
    stored with its version. Without search, for a store that gives versions."""
    history = list(history)
    stored = {
        (each.key, each.version): each.stores
        for each in history
        if each.version and each.kind != "read"
    }
    if len({version for _, version in stored}) != sum(
        1 for each in history if each.version and each.kind != "read"
    ):
        return False  # two changes with one version
    newest, newest_of_key = 0, defaultdict[str, int](int)  # that are known to whoever begins now
    floors: dict[int, int] = {}
    for number, returns in _moments(history):
        each = history[number]
        reads = each.kind == "read"
        if not reads and not each.version:
            continue
        if not returns:
            floors[number] = newest_of_key[each.key] if reads else newest + 1
            continue
        if each.version < floors[number] or (
            reads and stored.get((each.key, each.version), each.result) != each.result
        ):
            return False
        newest = max(newest, each.version)
        newest_of_key[each.key] = max(newest_of_key[each.key], each.version)
    return True
