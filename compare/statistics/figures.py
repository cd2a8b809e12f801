"""The figures of a cell, one row each: what a figure is called, in what unit it is told and how it is written, which way it is better, and
from what factor on a difference is claimed. The table, the page, the listing and the claims have it from here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import floor, log10
from typing import NamedTuple

import msgspec

from ..results import Latency, Result, Round
from ..run.measured import enough
from ..workloads.table import figure_of

# A rank of all rounds together is told where so many calls lie beyond it.
_BEYOND = 20


class Figure(NamedTuple):
    """`words` are its name for a person, `unit` what its text is in: the value times `scale`. Of a figure that is claimed, `less` says how
    much less good an arm is, and a difference is claimed from the factor `least` on."""

    name: str
    words: str
    unit: str
    scale: float = 1.0
    larger_is_better: bool = False
    less: str = ""
    least: float = 1.0

    def text(self, value: float | None) -> str:
        """In its unit, with three digits that count; a dash for None."""
        if value is None:
            return "-"
        scaled = value * self.scale
        digits = max(0, 2 - floor(log10(abs(scaled)))) if scaled else 0
        return f"{scaled:,.{digits}f}"

    @property
    def title(self) -> str:
        """Above a column of it."""
        return self.words if self.words == self.unit else f"{self.words}, {self.unit}"


def _time(name: str, words: str, less: str = "", least: float = 1.0) -> Figure:
    return Figure(name, words, "ms", 1e3, less=less, least=least)


FIGURES = {
    figure.name: figure
    for figure in (
        Figure("throughput", "calls/s", "calls/s", larger_is_better=True, less="does {} fewer calls/s"),
        _time("p50", "median time", "takes {} longer at the median"),
        _time("p90", "p90 time"),
        # The accident of few calls, but for where they differ much.
        _time("p99", "p99 time", "takes {} longer at p99", least=2.0),
        _time("p999", "p99.9 time"),
        _time("max", "longest time"),
        _time("mean", "mean time"),
        Figure(
            "server_cpu", "server CPU time a call", "us", 1e6, less="takes {} more server CPU time a call"
        ),
        Figure("client_cpu", "client CPU time a call", "us", 1e6),
    )
}
# Those that claims are made of, and intervals are told of.
CLAIMED = tuple(name for name, figure in FIGURES.items() if figure.less)


def claimed(workload: str, *, opened: bool = False, duet: bool = False) -> Figure:
    """By what its cells are compared, which is fixed beforehand. Where servers work at once, only what each of them uses is its own."""
    if duet:
        return FIGURES["server_cpu"]
    return FIGURES[figure_of(workload, opened=opened)]


def common(figure: Figure, rounds: Mapping[str, Sequence[Round]]) -> dict[str, list[float]]:
    """By name, one value for each round that all have; without those who lack the figure in one of them."""
    shared = set.intersection(*({made.round for made in each} for each in rounds.values()))
    found = {
        name: [value(figure.name, made) for made in each if made.round in shared]
        for name, each in rounds.items()
    }
    return {name: [each for each in values if each] for name, values in found.items() if all(values)}


def values(figure: str, result: Result) -> list[float]:
    """One for each round; none at all where a round lacks it."""
    found = [value(figure, made) for made in result.good]
    return [each for each in found if each] if all(found) else []


def ratio(value: float, low: float, high: float, digits: int = 2) -> str:
    """One figure beside another, with its interval."""
    return f"{value:.{digits}f} ({low:.{digits}f}..{high:.{digits}f})"


def percent(part: float) -> str:
    """A part of a whole, in words."""
    return f"{part * 100:.0f} %" if abs(part) >= 0.01 else f"{part * 100:.1f} %"


def value(figure: str, made: Round) -> float | None:
    """The figure of one round; None where it has none."""
    found: float | None = made.cpu.server_per_call if figure == "server_cpu" else getattr(made, figure)
    return found


def reliable(latency: Latency, calls: float) -> Latency:
    """Without the ranks that so many calls are too few for."""
    parts = {"p90": 0.9, "p99": 0.99, "p999": 0.999}
    few = dict.fromkeys(name for name, part in parts.items() if not enough(int(calls), part, _BEYOND))
    return msgspec.structs.replace(latency, **few)
