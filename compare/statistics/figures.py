"""The figures by which cells are compared, one for each round; and those that there are calls enough to tell."""

from __future__ import annotations

import msgspec

from ..results import Latency, Result, Round
from ..run.measured import enough

METRICS = ("throughput", "p50", "p99", "server_cpu")

# A rank of all rounds together is told where so many calls lie beyond it.
_BEYOND = 20


def values(metric: str, result: Result) -> list[float]:
    """One for each round; none at all where a round lacks it."""
    found = [value(metric, made) for made in result.good]
    return [each for each in found if each] if all(found) else []


def value(metric: str, made: Round) -> float | None:
    """The figure of one round; None where it has none."""
    found: float | None = made.cpu.server_per_call if metric == "server_cpu" else getattr(made, metric)
    return found


def told(latency: Latency, calls: float) -> Latency:
    """Without the ranks that so many calls are too few for."""
    parts = {"p90": 0.9, "p99": 0.99, "p999": 0.999}
    few = dict.fromkeys(name for name, part in parts.items() if not enough(int(calls), part, _BEYOND))
    return msgspec.structs.replace(latency, **few)
