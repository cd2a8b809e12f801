"""The figures of a cell: name, unit and format of each, whether larger is better, and the factor
from which a difference is claimed. Table, page, listing and claims use these."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import floor, log10
from typing import NamedTuple

import msgspec

from ..results import Latency, Result, Round
from ..run.measured import enough
from ..workloads.table import figure_of

# A percentile of all rounds is shown if at least this many calls lie beyond it.
_BEYOND = 20


class Figure(NamedTuple):
    """One figure. `words` is its display name; `unit` is the unit of its text, which is the value
    times `scale`. A figure of claims has `less`, the phrase for a worse arm, and `least`, the
    smallest factor that is claimed as a difference."""

    name: str
    words: str
    unit: str
    scale: float = 1.0
    larger_is_better: bool = False
    less: str = ""
    least: float = 1.0

    def text(self, value: float | None) -> str:
        """The value in its unit, with three significant digits; a dash for None."""
        if value is None:
            return "-"
        scaled = value * self.scale
        digits = max(0, 2 - floor(log10(abs(scaled)))) if scaled else 0
        return f"{scaled:,.{digits}f}"

    @property
    def title(self) -> str:
        """The heading of its column."""
        return self.words if self.words == self.unit else f"{self.words}, {self.unit}"


def _time(name: str, words: str, less: str = "", least: float = 1.0) -> Figure:
    return Figure(name, words, "ms", 1e3, less=less, least=least)


FIGURES = {
    figure.name: figure
    for figure in (
        Figure(
            "throughput", "calls/s", "calls/s", larger_is_better=True, less="does {} fewer calls/s"
        ),
        _time("p50", "median time", "takes {} longer at the median"),
        _time("p90", "p90 time"),
        # It depends on few calls, so only a large factor is claimed.
        _time("p99", "p99 time", "takes {} longer at p99", least=2.0),
        _time("p999", "p99.9 time"),
        _time("max", "longest time"),
        _time("mean", "mean time"),
        Figure(
            "server_cpu",
            "server CPU time a call",
            "us",
            1e6,
            less="takes {} more server CPU time a call",
        ),
        Figure("client_cpu", "client CPU time a call", "us", 1e6),
    )
}
# The figures that have claims and intervals.
CLAIMED = tuple(name for name, figure in FIGURES.items() if figure.less)


def claimed(workload: str, *, opened: bool = False, duet: bool = False) -> Figure:
    """The figure that the workload's cells are compared by, fixed beforehand. In a duet servers
    work at once, so only their CPU time is independent of the others."""
    if duet:
        return FIGURES["server_cpu"]
    return FIGURES[figure_of(workload, opened=opened)]


def common(figure: Figure, rounds: Mapping[str, Sequence[Round]]) -> dict[str, list[float]]:
    """By name: the values of the rounds that all have, without names that lack the figure in
    one."""
    shared = set.intersection(*({made.round for made in each} for each in rounds.values()))
    found = {
        name: [value(figure.name, made) for made in each if made.round in shared]
        for name, each in rounds.items()
    }
    return {
        name: [each for each in values if each] for name, values in found.items() if all(values)
    }


def values(figure: str, result: Result) -> list[float]:
    """One value for each good round; empty if a round lacks the figure."""
    found = [value(figure, made) for made in result.good]
    return [each for each in found if each] if all(found) else []


def ratio(value: float, low: float, high: float, digits: int = 2) -> str:
    """A ratio with its interval, as text."""
    return f"{value:.{digits}f} ({low:.{digits}f}..{high:.{digits}f})"


def percent(part: float) -> str:
    """A fraction as text: 0.05 is "5 %"."""
    return f"{part * 100:.0f} %" if abs(part) >= 0.01 else f"{part * 100:.1f} %"


def value(figure: str, made: Round) -> float | None:
    """The figure of one round; None if it has none."""
    found: float | None = (
        made.cpu.server_per_call if figure == "server_cpu" else getattr(made, figure)
    )
    return found


def reliable(latency: Latency, calls: float) -> Latency:
    """The times without the percentiles for which there are too few calls."""
    parts = {"p90": 0.9, "p99": 0.99, "p999": 0.999}
    few = dict.fromkeys(
        name for name, part in parts.items() if not enough(int(calls), part, _BEYOND)
    )
    return msgspec.structs.replace(latency, **few)
