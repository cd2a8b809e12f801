"""Percentiles as they are defined: the least sample that so large a part of all samples does not exceed. No estimates, no histogram."""

from __future__ import annotations

from collections.abc import Sequence

from .results import Latency


def percentile(ordered: Sequence[float], per_mille: int) -> float:
    """The sample at that rank (500 is the median) of samples in ascending order, of which there must be one at least."""
    return ordered[max(1, -(-len(ordered) * per_mille // 1000)) - 1]


def latency(samples: Sequence[float]) -> Latency:
    """Where the samples lie; all None where there is none."""
    if not samples:
        return Latency()
    ordered = sorted(samples)
    return Latency(*(percentile(ordered, rank) for rank in (500, 900, 990, 999, 1000)))
