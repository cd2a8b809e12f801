"""Two runs of the same cells, before and after: what changed, how sure that is, and what cannot be told of them.

Only like is compared with like: a cell of as many callers, workers and servers, and calls that come at the same rate.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec

from ..results import Interval, Outcome, Report, Result
from ..statistics import inference
from ..statistics.analysis import client_limited
from ..statistics.figures import values
from .names import what, who

# What a cell is compared by: in a closed loop the median response time is the throughput once more, by Little's law.
_CLOSED = ("throughput", "p99", "server_cpu")
_OPEN = ("p50", "p99", "server_cpu")

# So far apart, as a part of either, rates at which calls come are still the same, and the steps of `cpu` the same work.
_ALIKE = 0.05

# What figures depend on, beside what tells cells apart.
_MACHINE = (
    *("ringback", "implementation", "python", "gil", "switch_interval", "kernel", "cpu_model", "cpus"),
    *("virtual", "governor", "twisted_reactor"),
)
_LAYOUT = ("pinned", "arrivals", "workers", "limit")

_Key = tuple[str, str, str, str, str, int, int, int]


class Difference(NamedTuple):
    """`ratio` is after / before, and `outcome` what after is: for times and CPU, less is better."""

    arm: str
    client: str
    style: str
    workload: str
    figure: str
    before: float
    after: float
    ratio: float
    interval: Interval
    outcome: Outcome


class Untold(NamedTuple):
    """A figure of a cell that both runs have, which cannot be compared, and why."""

    arm: str
    client: str
    style: str
    workload: str
    figure: str
    why: str


class Changes(NamedTuple):
    """From one run to another. `remarks` say in what the runs differ that was not to be measured, and whether they can be trusted."""

    differences: Sequence[Difference] = ()
    untold: Sequence[Untold] = ()
    remarks: Sequence[str] = ()
    trusted: bool = True

    def omitted(self) -> Iterator[str]:
        """What is untold, in a line for each reason and group of cells."""
        groups: dict[tuple[str, str, str, str], list[str]] = {}
        for each in self.untold:
            groups.setdefault((each.workload, each.style, each.figure, each.why), []).append(who(each))
        for (workload, style, metric, why), names in groups.items():
            yield f"Not compared: {metric} of {workload}, {style} ({'; '.join(names)}): {why}."


UNCHANGED = Changes()


def changes(before: Report, after: Report) -> Changes:
    """Of all cells that both runs have. Intervals are corrected for their number; of runs that cannot be trusted all is unclear.

    The rounds of two runs do not belong together, so they are not paired: what the machine did between the runs is in the difference.
    """
    older = {_key(result): result for result in before.results}
    pairs = [(older[_key(result)], result) for result in after.results if _key(result) in older]
    found: list[tuple[Result, str, list[float], list[float]]] = []
    untold = []
    for was, now in pairs:
        for metric in _metrics(now, before, after):
            first, second = _values(metric, was, before), _values(metric, now, after)
            why = _why_not(metric, was, now, before, after)
            if not why and min(len(first), len(second)) < 2:
                why = "a run has it in fewer than two rounds, or of too few calls in one"
            if why:
                untold.append(Untold(now.arm, now.client, now.style, now.workload, metric, why))
            else:
                found.append((now, metric, first, second))
    trusted = before.verdict.trusted and after.verdict.trusted
    levels = inference.levels(
        [inference.welch(was, now).p for *_, was, now in found], after.design.confidence
    )
    differences = [
        _difference(each, level, after.design.margin, trusted=trusted)
        for each, level in zip(found, levels, strict=True)
    ]
    return Changes(differences, untold, list(_remarks(before, after)), trusted)


def _key(result: Result) -> _Key:
    cell = result.arm, result.client, result.style, result.workload
    return (*cell, result.loop, result.concurrency, result.workers, result.servers)


def _metrics(cell: Result, before: Report, after: Report) -> Sequence[str]:
    if cell.loop == "closed":
        return _CLOSED
    return ("throughput", *_OPEN) if before.searches and after.searches else _OPEN


def _values(metric: str, cell: Result, report: Report) -> list[float]:
    """By round; the throughput of a search is the rate that it found."""
    if metric == "throughput" and cell.loop == "open":
        return [each for each in _found(cell, report) if each]
    return values(metric, cell)


def _found(cell: Result, report: Report) -> list[float]:
    own = cell.arm, cell.client, cell.style, cell.workload
    return [
        each.passes for each in report.searches if (each.arm, each.client, each.style, each.workload) == own
    ]


def _why_not(metric: str, was: Result, now: Result, before: Report, after: Report) -> str:
    """Why the figure of one run says nothing beside that of the other; "" where it does."""
    both = was, now
    if not all(each.sound for each in both):
        return "in one of the runs it has errors, or is void"
    if any(each.overloaded for each in both):
        return "in one of the runs more calls came than were answered"
    if metric == "throughput" and any(client_limited(each) for each in both):
        return "in one of the runs the load generator was the limit"
    if now.loop == "closed":
        return ""
    if metric == "throughput":
        if {each.objective for each in before.searches} != {each.objective for each in after.searches}:
            return "the runs searched for other objectives"
        if not all(_found(was, before) + _found(now, after)):
            return "in some round no rate kept the objective"
        return ""
    first, second = (each.rate.offered if each.rate else 0.0 for each in both)
    if not _alike(first, second):
        return f"calls came at other rates, {first:,.0f}/s and then {second:,.0f}/s"
    return ""


def _alike(one: float, other: float) -> bool:
    return abs(one - other) <= _ALIKE * max(one, other)


def _difference(
    found: tuple[Result, str, list[float], list[float]], level: float, margin: float, *, trusted: bool
) -> Difference:
    result, metric, was, now = found
    change = inference.welch(was, now, level)
    outcome = inference.outcome(
        change.ratio, change.interval, margin, larger_is_better=metric == "throughput"
    )
    return Difference(
        arm=result.arm,
        client=result.client,
        style=result.style,
        workload=result.workload,
        figure=metric,
        before=inference.mean(was),
        after=inference.mean(now),
        ratio=change.ratio,
        interval=change.interval,
        outcome=outcome if trusted else "unclear",
    )


def _remarks(before: Report, after: Report) -> Iterator[str]:
    for name, report in (("older", before), ("newer", after)):
        if not report.verdict.trusted:
            failed = ", ".join(check.name for check in report.checks if not check.ok)
            yield f"The {name} run cannot be trusted ({failed or 'it says so'}), so no difference is claimed."
    unlike = "; ".join(_unlike(before, after))
    if unlike:
        yield f"Not alike in the two runs: {unlike}."
    first, second = ({_key(each): each for each in report.results} for report in (before, after))
    alone = [what(each) for key, each in (first | second).items() if (key in first) != (key in second)]
    if alone:
        yield f"In one of the runs only, or there with another load: {'; '.join(dict.fromkeys(alone))}."


def _unlike(before: Report, after: Report) -> Iterator[str]:
    first, second = before.environment, after.environment
    pairs = [(name, getattr(first, name), getattr(second, name)) for name in _MACHINE]
    pairs += [(name, getattr(before.design, name), getattr(after.design, name)) for name in _LAYOUT]
    if not _alike(first.cpu_steps, second.cpu_steps):  # it is measured anew in each run
        pairs.append(("cpu_steps", first.cpu_steps, second.cpu_steps))
    for package in sorted({*first.packages, *second.packages}):
        pairs.append((package, first.packages.get(package), second.packages.get(package)))
    for name, was, now in pairs:
        if was != now:
            yield f"{name.replace('_', ' ')} {_text(was)}, then {_text(now)}"


def _text(value: object) -> str:
    if value is None or value == "":
        return "none"
    if isinstance(value, float):
        return f"{value:g}"
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
