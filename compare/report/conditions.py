"""`--fail-if 'p99>20ms'`: conditions on figures, decided only if the whole interval over rounds is
on one side.

The form is `[NAME.]...METRIC OP VALUE`. The names select cells by arm, workload, style or client;
all must match. The value is in calls/s, a number, a time with its unit, or a percentage of an older
run.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Iterable, Iterator, Sequence
from math import inf
from typing import NamedTuple

from ..results import Consistency, Interval, Report, Result
from ..statistics import inference
from ..statistics.figures import CLAIMED as COMPARED
from ..statistics.figures import FIGURES, values
from .difference import UNCHANGED, Difference, ReportChanges
from .names import NamedCell, what

_FORM = re.compile(
    r"\s*((?:[\w-]+\.)*)([\w.]+?)\s*(<=|>=|<|>)"
    r"\s*(\d+(?:\.\d+)?(?:e[+-]?\d+)?)\s*(us|µs|ms|s|%|)\s*"
)
UNITS = {"us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "": 1.0, "%": 0.01}
_SIGNS = {"<": operator.lt, ">": operator.gt, "<=": operator.le, ">=": operator.ge}

# Rounds have these figures, so they have an interval.
_TIMES = ("p50", "p90", "p99", "mean")
_MEASURED = ("throughput", *_TIMES, "server_cpu")
# Counts, which have no interval; the last ones exist if the workload has a check.
_COUNTED = ("errors", "wrong", "calls", *Consistency.__struct_fields__)
METRICS = (*_MEASURED, *_COUNTED)


class Condition(NamedTuple):
    """One condition. If `relative`, `value` is a fraction of the figure in an older run."""

    text: str
    names: frozenset[str]
    metric: str
    sign: str
    value: float
    relative: bool

    @classmethod
    def parse(cls, text: str) -> Condition:
        """Raises ValueError, which explains the form."""
        match = _FORM.fullmatch(text)
        if match is None:
            raise ValueError(
                f"bad condition {text!r}: use the form 'p99>20ms' or 'asyncio.echo.throughput<5000'"
            )
        names, metric, sign, number, unit = match.groups()
        if metric not in METRICS:
            raise ValueError(
                f"bad condition {text!r}: there is no {metric!r}; choose from {', '.join(METRICS)}"
            )
        if unit == "%" and metric not in COMPARED:
            raise ValueError(
                f"bad condition {text!r}: % compares two runs, by {', '.join(COMPARED)} only"
            )
        if unit not in ("", "%") and metric not in (*_TIMES, "server_cpu"):
            raise ValueError(f"bad condition {text!r}: {metric} is not a time; leave out the unit")
        if unit == "" and metric in _TIMES:
            raise ValueError(f"bad condition {text!r}: {metric} needs a unit: us, ms or s")
        value = float(number) * UNITS[unit]
        return cls(text.strip(), frozenset(names.split(".")[:-1]), metric, sign, value, unit == "%")

    def picks(self, cell: NamedCell) -> bool:
        """Whether it applies to this cell."""
        return self.names <= {cell.arm, cell.workload, cell.style, cell.client}

    def holds(self, interval: Interval) -> bool | None:
        """Whether it holds for all values of the interval; None if for some of them only."""
        low, high = (bool(_SIGNS[self.sign](value, self.value)) for value in interval)
        return low if low == high else None


class ConditionsMet(NamedTuple):
    """The conditions met in a cell with certainty, and those undecided in one."""

    broken: list[str]
    undecided: list[str]


def refuse(conditions: Sequence[Condition], cells: Iterable[NamedCell], *, older: bool) -> None:
    """Raises ValueError if a condition applies to no cell, or needs an older run and there is
    none."""
    known = list(cells)
    for condition in conditions:
        if condition.relative and not older:
            raise ValueError(
                f"condition {condition.text!r} is relative: it needs an older run to compare with"
            )
        if not any(map(condition.picks, known)):
            lack = (
                f"no cell has {' and '.join(sorted(condition.names))}"
                if known
                else "there is no cell"
            )
            raise ValueError(f"condition {condition.text!r} applies to nothing: {lack}")


def check(
    conditions: Sequence[Condition], report: Report, changes: ReportChanges = UNCHANGED
) -> ConditionsMet:
    """Check the conditions. In a run that cannot be trusted, only conditions on counts are
    decided."""
    broken, undecided = [], []
    for condition in conditions:
        relative = condition.relative
        found = list(_changed(condition, changes) if relative else _measured(condition, report))
        if not found:
            done = "compared" if relative else "measured"
            undecided.append(f"{condition.text}, as no such cell was {done}")
        for cell, interval in found:
            held = None if interval is None else condition.holds(interval)
            if held is None:
                undecided.append(f"{condition.text} in {what(cell)}")
            elif held:
                broken.append(f"{condition.text} in {what(cell)}")
    return ConditionsMet(broken, undecided)


def _changed(
    condition: Condition, changes: ReportChanges
) -> Iterator[tuple[NamedCell, Interval | None]]:
    for each in (*changes.differences, *changes.not_compared):
        if each.figure == condition.metric and condition.picks(each):
            yield each, _after(each) if changes.trusted else None


def _after(difference: Difference) -> Interval | None:
    """The interval of the figure after as a fraction of that before; None with too few runs."""
    if difference.interval is None or FIGURES[difference.figure].larger_is_better:
        return difference.interval
    low, high = difference.interval
    return 1 / high, 1 / low


def _measured(condition: Condition, report: Report) -> Iterator[tuple[NamedCell, Interval | None]]:
    for result in filter(condition.picks, (*report.results, *report.peers)):
        if condition.metric in _MEASURED:
            yield result, _interval(condition.metric, result, report)
            continue
        for part in (result, result.consistency):
            count = getattr(part, condition.metric, None)
            if count is not None:
                yield result, (count, count)


def _interval(metric: str, result: Result, report: Report) -> Interval | None:
    """The interval of the metric; None if it is not known."""
    if result.void or not result.calls or not report.verdict.trusted:
        return None
    if metric in _TIMES and result.overloaded:
        # Response times grow without bound in an overload, unless the client is its cause.
        return None if result.client_limited else (inf, inf)
    found: Interval | None = getattr(result.interval, metric, None)
    found = found or inference.interval(values(metric, result), report.design.confidence)
    if found is None or not result.client_limited:
        return found
    # The generator could not call faster, or sent late: the server is at least this good.
    low, high = found
    if metric == "throughput":
        return low, inf
    return (0.0, high) if metric in _TIMES and result.loop == "open" else found
