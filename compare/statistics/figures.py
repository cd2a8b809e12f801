"""The figures that are told of a cell: one registry for the table, the page, the files and the claims."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from ..results import Latency, Result, Round
from ..run.measured import enough
from ..workloads.table import figure_of
from .contrasts import Rule

# A rank of all rounds together is told where so many calls lie beyond it.
_BEYOND = 20

# From what factor on a difference in p99 is claimed: it is the accident of few calls.
_TAIL = 2.0


class Figure(NamedTuple):
    """A figure by its name in the report, what it is in words, and whether more of it is better."""

    name: str
    words: str
    larger_is_better: bool = False


FIGURES = {
    figure.name: figure
    for figure in (
        Figure("throughput", "calls/s", larger_is_better=True),
        Figure("p50", "median time"),
        Figure("p99", "p99 time"),
        Figure("server_cpu", "server CPU time a call"),
    )
}


def claimed(result: Result, *, searched: bool) -> Figure:
    """By what the cells like this one are compared: fixed for the workload, whatever was measured."""
    if result.loop == "open" and searched:
        return FIGURES["throughput"]
    return FIGURES[figure_of(result.workload, opened=result.loop == "open")]


def rule(figure: Figure, margin: float) -> Rule:
    """What is claimed of it."""
    return Rule(margin, _TAIL if figure.name == "p99" else 1.0)


def values(figure: str, result: Result) -> list[float]:
    """One for each round; none at all where a round lacks it."""
    found = [value(figure, made) for made in result.good]
    return [each for each in found if each] if all(found) else []


def value(figure: str, made: Round) -> float | None:
    """The figure of one round; None where it has none."""
    found: float | None = made.cpu.server_per_call if figure == "server_cpu" else getattr(made, figure)
    return found


def told(latency: Latency, calls: float) -> Latency:
    """Without the ranks that so many calls are too few for."""
    parts = {"p90": 0.9, "p99": 0.99, "p999": 0.999}
    few = dict.fromkeys(name for name, part in parts.items() if not enough(int(calls), part, _BEYOND))
    return msgspec.structs.replace(latency, **few)
