"""When calls are due in an open loop: seconds after its beginning, ascending. The same seed gives the same times."""

from __future__ import annotations

import random
from collections.abc import Iterator

KINDS = ("poisson", "even")


def times(kind: str, rate: float, seconds: float, seed: int) -> list[float]:
    """At random (a Poisson process: what many independent callers make) or evenly, at `rate` calls a second on average.

    Raises ValueError for another kind or a rate that is not positive.
    """
    if not rate > 0:
        raise ValueError(f"a rate is more than 0 calls/s, not {rate}")
    if kind == "even":
        return [number / rate for number in range(int(rate * seconds))]
    if kind != "poisson":
        raise ValueError(f"there are no arrivals {kind!r}: choose of {', '.join(KINDS)}")
    return list(_poisson(rate, seconds, random.Random(seed)))  # noqa: S311


def bursts(calls: int, every: float, seconds: float) -> list[float]:
    """So many calls at once, every so many seconds, the first after half of that."""
    return [(number + 0.5) * every for number in range(int(seconds / every)) for _ in range(calls)]


def _poisson(rate: float, seconds: float, chance: random.Random) -> Iterator[float]:
    time = chance.expovariate(rate)
    while time < seconds:
        yield time
        time += chance.expovariate(rate)
