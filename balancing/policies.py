"""Which of the servers that are fit gets the next call. A policy of one's own is a subclass of `Policy`."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TypeVar

from ..errors import UsageError
from .loads import Load

L = TypeVar("L", bound=Load)


class Policy(ABC):
    """Chooses among servers. One belongs to one client, on whose loop it is asked: once for every call, so it must be quick."""

    @abstractmethod
    def choose(self, among: Sequence[L], now: float) -> L:
        """One of them; there are at least two. `now` is in seconds, on the clock by which their loads are measured."""


class RoundRobin(Policy):
    """In turn, each as often as its weight says, and evenly mixed: nginx's smooth weighted round robin."""

    def choose(self, among: Sequence[L], now: float) -> L:  # noqa: ARG002
        total, chosen = 0.0, among[0]
        for load in among:
            due = load.weight * load.share
            load.owed += due
            total += due
            if load.owed > chosen.owed:
                chosen = load
        chosen.owed -= total
        return chosen


class LeastInFlight(Policy):
    """The one with the fewest calls in flight for its weight; of equal ones the next in turn."""

    def __init__(self) -> None:
        self._turn = 0

    def choose(self, among: Sequence[L], now: float) -> L:  # noqa: ARG002
        self._turn = turn = (self._turn + 1) % len(among)
        chosen, least = among[turn], among[turn].burden
        for place in range(turn + 1 - len(among), turn):
            load = among[place]
            burden = load.burden
            if burden < least:
                chosen, least = load, burden
        return chosen


class _Random(Policy):
    def __init__(self, chance: random.Random | None = None) -> None:
        self._random = (chance or random.Random()).random  # noqa: S311 - no secret

    def _two(self, among: Sequence[L]) -> tuple[L, L]:
        """Two of them, by chance."""
        count = len(among)
        first = int(self._random() * count)
        second = int(self._random() * (count - 1))
        return among[first], among[second + (second >= first)]


class TwoChoices(_Random):
    """Of two by chance the one with fewer calls in flight for its weight (Mitzenmacher, "The Power of Two Choices in Randomized Load
    Balancing", 2001): many clients that know nothing of each other do not all go to the same server."""

    def choose(self, among: Sequence[L], now: float) -> L:  # noqa: ARG002
        one, other = self._two(among)
        return one if one.burden <= other.burden else other


class PeakEwma(_Random):
    """Of two by chance the one whose calls in flight will be done sooner, by its response times: a longer one counts at once, a shorter one
    little by little (Finagle's `P2C + Peak EWMA`). A server that does not answer gets dearer with every moment."""

    def choose(self, among: Sequence[L], now: float) -> L:
        one, other = self._two(among)
        return one if one.cost(now) <= other.cost(now) else other


POLICIES: dict[str, type[Policy]] = {
    "round-robin": RoundRobin,
    "least-in-flight": LeastInFlight,
    "two-choices": TwoChoices,
    "peak-ewma": PeakEwma,
}
DEFAULT = "least-in-flight"


def policy_of(policy: str | Policy | None) -> Policy:
    """The policy of that name, or the one given; the default for None. Raises UsageError for all else."""
    if isinstance(policy, Policy):
        return policy
    name = DEFAULT if policy is None else policy
    kind = POLICIES.get(name) if isinstance(name, str) else None
    if kind is None:
        raise UsageError(
            f"policy must be one of {', '.join(POLICIES)}, or a ringback.balancing.Policy of your own, not {policy!r}"
        )
    return kind()
