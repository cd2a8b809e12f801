"""The figures that rounds have, from which cells are compared: one for each round, or none."""

from __future__ import annotations

from .results import Result, Round

METRICS = ("throughput", "p50", "p99", "server_cpu")


def values(metric: str, result: Result) -> list[float]:
    """One for each round; none at all where a round lacks it."""
    found = [value(metric, made) for made in result.rounds]
    return [each for each in found if each] if all(found) else []


def value(metric: str, made: Round) -> float | None:
    """The figure of one round; None where it has none."""
    found: float | None = made.cpu.server_per_call if metric == "server_cpu" else getattr(made, metric)
    return found
