"""`--fail-if 'p99>20ms'`: conditions on the figures, decided only where their whole interval is on one side.

`[NAME.]...METRIC OP VALUE`: the names pick cells by backend, workload, style or client, all of which must fit; the value is in calls/s, a
number, a time with its unit, or a percentage of an older run.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from .difference import Difference
from .results import Interval, Report, Result
from .search import UNITS

_FORM = re.compile(
    r"\s*((?:[\w-]+\.)*)([\w.]+?)\s*(<=|>=|<|>)\s*(\d+(?:\.\d+)?(?:e[+-]?\d+)?)\s*(us|µs|ms|s|%|)\s*"
)
_UNITS = {**UNITS, "": 1.0, "%": 0.01}

_TIMES = ("p50", "p90", "p99", "p999", "max", "mean")
_COUNTS = ("errors", "wrong", "calls")
METRICS = ("throughput", *_TIMES, "server_cpu", *_COUNTS)


class Condition(NamedTuple):
    """One of them; `relative` to an older run."""

    text: str
    names: tuple[str, ...]
    metric: str
    sign: str
    value: float
    relative: bool

    @classmethod
    def parse(cls, text: str) -> Condition:
        """Raises ValueError that says how it must look."""
        match = _FORM.fullmatch(text)
        if match is None:
            raise ValueError(
                f"bad condition {text!r}: it must look like 'p99>20ms' or 'asyncio.echo.throughput<5000'"
            )
        names, metric, sign, number, unit = match.groups()
        if metric not in METRICS:
            raise ValueError(
                f"bad condition {text!r}: there is no {metric!r}, choose of {', '.join(METRICS)}"
            )
        if unit not in ("", "%") and metric not in (*_TIMES, "server_cpu"):
            raise ValueError(f"bad condition {text!r}: {metric} is no time")
        if unit == "" and metric in _TIMES:
            raise ValueError(f"bad condition {text!r}: {metric} needs a unit, us, ms or s")
        return cls(
            text.strip(),
            tuple(names.split(".")[:-1]),
            metric,
            sign,
            float(number) * _UNITS[unit],
            unit == "%",
        )

    def holds(self, interval: Interval) -> bool | None:
        """Whether it does for all values of the interval; None where it does for some of them."""
        low, high = (self._true(value) for value in interval)
        return low if low == high else None

    def _true(self, value: float) -> bool:
        match self.sign:
            case "<":
                return value < self.value
            case ">":
                return value > self.value
            case "<=":
                return value <= self.value
            case _:
                return value >= self.value


class Outcome(NamedTuple):
    """Of all conditions: those that are met in some cell beyond doubt, and those of which that cannot be told."""

    broken: list[str]
    undecided: list[str]


def check(conditions: Sequence[Condition], report: Report, differences: Sequence[Difference] = ()) -> Outcome:
    """What is met where. Raises ValueError where a condition picks no cell at all, or needs an older run that is not there."""
    broken, undecided = [], []
    for condition in conditions:
        found = list(_intervals(condition, report, differences))
        if not found:
            raise ValueError(f"condition {condition.text!r} picks nothing that was measured")
        for what, interval in found:
            held = None if interval is None else condition.holds(interval)
            if held is None:
                undecided.append(f"{condition.text} in {what}")
            elif held:
                broken.append(f"{condition.text} in {what}")
    return Outcome(broken, undecided)


def _intervals(
    condition: Condition, report: Report, differences: Sequence[Difference]
) -> Iterator[tuple[str, Interval | None]]:
    if condition.relative:
        if not differences:
            raise ValueError(
                f"condition {condition.text!r} is relative: it needs an older run to compare with"
            )
        for each in differences:
            if each.metric == condition.metric and _picked(condition, each):
                yield _name(each), each.interval
        return
    for result in (*report.results, *report.peers):
        if _picked(condition, result):
            yield _name(result), _interval(condition.metric, result)


def _picked(condition: Condition, cell: Result | Difference) -> bool:
    return set(condition.names) <= {cell.backend, cell.workload, cell.style, cell.client}


def _name(cell: Result | Difference) -> str:
    return f"{cell.backend} {cell.workload} {cell.style}"


def _interval(metric: str, result: Result) -> Interval | None:
    """Where the metric lies; None where it means nothing."""
    if metric in _COUNTS:
        value = float(getattr(result, metric))
        return value, value
    if result.void or not result.calls:
        return None
    found: Interval | None = getattr(result.interval, metric, None)
    if found is not None:
        return found
    point = {
        "throughput": result.throughput,
        "server_cpu": result.cpu.server_per_call,
        **{name: getattr(result.latency, name) for name in _TIMES},
    }[metric]
    return None if point is None else (point, point)
