"""Policies: each chooses one of the fit servers for the next call.
Subclass `Policy` for your own."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TypeVar

from ..errors import UsageError
from .loads import Load

L = TypeVar("L", bound=Load)


class Policy(ABC):
    """Chooses among servers.
    Each client has its own policy, which runs on its loop once for every call: it must be quick."""

    @abstractmethod
    def choose(self, among: Sequence[L], now: float) -> L:
        """One of at least two servers.
        `now`: seconds, on the clock by which their loads are measured."""


class RoundRobin(Policy):
    """Each server in turn, as often as its weight says, evenly mixed (nginx's smooth weighted
    form)."""

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
    """The server with the fewest calls in flight for its weight; of equal ones the next in turn."""

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
        """Two different servers, chosen at random."""
        count = len(among)
        first = int(self._random() * count)
        second = int(self._random() * (count - 1))
        return among[first], among[second + (second >= first)]


class TwoChoices(_Random):
    """Of two random servers, the one with fewer calls in flight for its weight.

    Many independent clients thus do not all choose the same server (Mitzenmacher, "The Power of Two
    Choices in Randomized Load Balancing", 2001).
    """

    def choose(self, among: Sequence[L], now: float) -> L:  # noqa: ARG002
        one, other = self._two(among)
        return one if one.burden <= other.burden else other


class PeakEwma(_Random):
    """Of two random servers, the one that will finish its calls in flight sooner.

    Response times decide: a longer time counts at once, a shorter one little by little (Finagle's
    `P2C + Peak EWMA`). The cost of a server that does not reply rises all the time.
    """

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
    """The policy of that name, or the given one; the default for None.
    Raises UsageError for any other value."""
    if isinstance(policy, Policy):
        return policy
    name = DEFAULT if policy is None else policy
    kind = POLICIES.get(name) if isinstance(name, str) else None
    if kind is None:
        raise UsageError(
            f"policy must be one of {', '.join(POLICIES)}, or a ringback.balancing.Policy, not "
            f"{policy!r}"
        )
    return kind()
