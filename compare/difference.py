"""Two runs of the same cells, before and after: what changed, and how sure that is."""

from __future__ import annotations

from typing import NamedTuple

from . import inference
from .results import Interval, Outcome, Report, Result, Round

METRICS = ("throughput", "p50", "p99", "server_cpu")

# What a cell is compared by: in a closed loop the median response time is the throughput once more, by Little's law.
_CLOSED = ("throughput", "p99", "server_cpu")
_OPEN = ("p50", "p99", "server_cpu")


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
    """Of all cells that both runs have, in each metric of which both have at least two rounds. Intervals are corrected for their number.

    The rounds of two runs do not belong together, so they are not paired: what the machine did between the runs is in the difference.
    """
    older = {_key(result): result for result in before.results if result.sound}
    found = []
    for result in after.results:
        other = older.get(_key(result))
        if other is not None and result.sound:
            for metric in _CLOSED if result.loop == "closed" else _OPEN:
                was, now = values(metric, other), values(metric, result)
                if len(was) > 1 and len(now) > 1:
                    found.append((result, metric, was, now))
    levels = inference.levels(
        [inference.welch(was, now).p for *_, was, now in found], after.design.confidence
    )
    return [
        _difference(result, metric, was, now, level, after.design.margin)
        for (result, metric, was, now), level in zip(found, levels, strict=True)
    ]


def _difference(
    result: Result, metric: str, was: list[float], now: list[float], level: float, margin: float
) -> Difference:
    found = inference.welch(was, now, level)
    return Difference(
        backend=result.backend,
        client=result.client,
        style=result.style,
        workload=result.workload,
        metric=metric,
        before=inference.mean(was),
        after=inference.mean(now),
        ratio=found.ratio,
        interval=found.interval,
        outcome=inference.outcome(
            found.ratio, found.interval, margin, larger_is_better=metric == "throughput"
        ),
    )


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
