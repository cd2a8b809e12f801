"""The noise floor: what differs between a backend and itself, in the figures that the run makes claims of."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from math import exp, log
from typing import NamedTuple

from ..results import Round, Twin
from . import inference
from .figures import value

# A run in which nothing is wrong says so rarely that a backend differs from itself, for all of its figures together.
_ALPHA = 0.01


class Doubled(NamedTuple):
    """One cell of one backend, measured twice in the same round, each time in processes of its own."""

    workload: str
    client: str
    style: str
    own: Round
    again: Round


Cell = tuple[str, str, str]


def twins(
    doubled: Sequence[Doubled], metrics: Mapping[Cell, Collection[str]], confidence: float
) -> list[Twin]:
    """One for each metric, of the cells (workload, client, style) that are judged by it. Calls/s that are the client's tell nothing of how
    a backend's CPU time scatters.

    The round is the unit: its cells, which share their processes, are one value together.
    """
    groups: dict[str, list[Doubled]] = {}
    for each in doubled:
        if not (each.own.little.ok and each.again.little.ok):
            continue
        for metric in metrics.get((each.workload, each.client, each.style), ()):
            groups.setdefault(metric, []).append(each)
    found = {}
    for metric, group in groups.items():
        means = _ratios(group, metric)
        if len(means) > 1:
            found[metric] = inference.paired(means, [1.0] * len(means), confidence)
    adjusted = inference.holm([each.p for each in found.values()])
    return [
        Twin(
            workload=_names(each.workload for each in groups[metric]),
            client=_names(each.client for each in groups[metric]),
            style=_names(each.style for each in groups[metric]),
            ratio=paired.ratio,
            interval=paired.interval,
            rounds=paired.rounds,
            ok=p >= _ALPHA,
            metric=metric,
        )
        for (metric, paired), p in zip(found.items(), adjusted, strict=True)
    ]


def floor(twin: Twin) -> float:
    """How far noise is known to reach: 0.05 is 5 %."""
    low, high = twin.interval
    return max(high, 1 / low) - 1


def _ratios(group: Sequence[Doubled], metric: str) -> list[float]:
    """One for each round."""
    rounds: dict[int, list[float]] = {}
    for each in group:
        own, again = value(metric, each.own), value(metric, each.again)
        if own and again:
            rounds.setdefault(each.own.round, []).append(log(own / again))
    return [exp(sum(logs) / len(logs)) for logs in rounds.values()]


def _names(found: Iterable[str]) -> str:
    return ", ".join(sorted(set(found)))
