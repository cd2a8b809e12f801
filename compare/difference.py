"""Two runs of the same cells, before and after: what changed, and how sure that is."""

from __future__ import annotations

from typing import NamedTuple

from . import inference
from .results import Interval, Outcome, Report, Result, Round

METRICS = ("throughput", "p50", "p99", "server_cpu")


class Difference(NamedTuple):
    """`ratio` is after / before, and `outcome` what after is: for times and CPU, less is better."""

    backend: str
    client: str
    style: str
    workload: str
    metric: str
    before: float
    after: float
    ratio: float
    interval: Interval
    outcome: Outcome


def differences(before: Report, after: Report) -> list[Difference]:
    """Of all cells that both runs have, in all metrics of which both have at least two rounds. Intervals are corrected for their number.

    The rounds of two runs do not belong together, so they are not paired: what the machine did between the runs is in the difference.
    """
    older = {_key(result): result for result in before.results if result.sound}
    found = []
    for result in after.results:
        other = older.get(_key(result))
        if other is None or not result.sound:
            continue
        for metric in METRICS:
            was, now = values(metric, other), values(metric, result)
            if len(was) > 1 and len(now) > 1:
                found.append((result, metric, was, now))
    level = 1 - (1 - after.design.confidence) / max(1, len(found))
    made = []
    for result, metric, was, now in found:
        ratio, interval = inference.welch(was, now, level)
        better = inference.outcome(
            ratio, interval, after.design.margin, larger_is_better=metric == "throughput"
        )
        names = result.backend, result.client, result.style, result.workload
        made.append(
            Difference(*names, metric, inference.mean(was), inference.mean(now), ratio, interval, better)
        )
    return made


def values(metric: str, result: Result) -> list[float]:
    """One for each round; none at all where a round lacks it."""
    found = [value(metric, made) for made in result.rounds]
    return [each for each in found if each] if all(found) else []


def value(metric: str, made: Round) -> float | None:
    """The figure of one round; None where it has none."""
    found: float | None = made.cpu.server_per_call if metric == "server_cpu" else getattr(made, metric)
    return found


def _key(result: Result) -> tuple[str, str, str, str, int]:
    return result.backend, result.client, result.style, result.workload, result.concurrency
