"""Older and newer runs: changes with their confidence, and cells that cannot be compared.

The unit is the run, not the round: all rounds of a run share the state of its processes and
machine. So one run of each supports no claim. Cells are comparable only with the same number of
callers and workers, and the same arrival rate.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec

from ..results import Interval, Outcome, Report, Result
from ..statistics import inference
from ..statistics.contrasts import Contrast, Rule, decided, unpaired
from ..statistics.figures import FIGURES, values
from .names import what, who

# Figures to compare. In a closed loop the median response time has, by Little's law, the same
# information as throughput.
_CLOSED = ("throughput", "p99", "server_cpu")
_OPEN = ("p50", "p99", "server_cpu")

# Minimum runs of either side for a claim: with fewer the variance between runs is not known.
RUNS = 3

# Relative difference up to which arrival rates count as the same, and so do the steps of `cpu`.
_ALIKE = 0.05

# Fields that figures depend on and that must be alike in all runs.
_MACHINE = ("ringback", "implementation", "python", "gil", "kernel", "cpu_model", "cpus")
_LAYOUT = ("pinned", "workers", "duet")

_Key = tuple[str, str, str, str, str, int, int]


class Difference(NamedTuple):
    """One figure of one cell: the geometric mean of the runs before, and of those after.

    A `ratio` above 1 means that after is better; it has an `interval` if there are enough runs. If
    the cell cannot be compared, `why` is the reason.
    """

    arm: str
    client: str
    style: str
    workload: str
    figure: str
    before: float = 0.0
    after: float = 0.0
    ratio: float = 1.0
    interval: Interval | None = None
    outcome: Outcome = "unclear"
    why: str = ""


class ReportChanges(NamedTuple):
    """Changes from some runs to others, and figures that cannot be compared.

    `remarks` list differences of machine and layout, and runs that cannot be trusted.
    """

    differences: Sequence[Difference] = ()
    not_compared: Sequence[Difference] = ()
    remarks: Sequence[str] = ()
    trusted: bool = True

    def omitted(self) -> Iterator[str]:
        """The figures that are not compared, in a line for each reason and group of cells."""
        groups: dict[tuple[str, str, str, str], list[str]] = {}
        for each in self.not_compared:
            groups.setdefault((each.workload, each.style, each.figure, each.why), []).append(
                who(each)
            )
        for (workload, style, figure, why), names in groups.items():
            yield f"Not compared: {figure} of {workload}, {style} ({'; '.join(names)}): {why}."


UNCHANGED = ReportChanges()


def changes(before: Sequence[Report], after: Sequence[Report]) -> ReportChanges:
    """Compare all cells that every run has.

    Intervals are corrected for their number. If a run cannot be trusted, all outcomes are unclear.
    """
    runs = [*before, *after]
    cells = [{_key(result): result for result in run.results} for run in runs]
    # In a duet all other figures depend on the servers that run at the same time.
    duet = any(run.design.duet for run in runs)
    compared: list[tuple[Difference, Contrast | None]] = []
    not_compared = []
    for key, now in cells[len(before)].items():
        if not all(key in each for each in cells):
            continue
        everywhere = [each[key] for each in cells]
        for figure in ("server_cpu",) if duet else _CLOSED if now.loop == "closed" else _OPEN:
            found = Difference(now.arm, now.client, now.style, now.workload, figure)
            by_run = [values(figure, cell) for cell in everywhere]
            why = _why_not(figure, everywhere)
            if not why and not all(by_run):
                why = "a run has no such figure, or too few calls for it in a round"
            if why:
                not_compared.append(found._replace(why=why))
            else:
                means = [inference.mean(each) for each in by_run]
                compared.append(_compared(found, means[: len(before)], means[len(before) :]))
    trusted, design = all(run.verdict.trusted for run in runs), after[0].design
    levels = iter(inference.levels([each.p for _, each in compared if each], design.confidence))
    differences = []
    for found, contrast in compared:
        if contrast is not None:
            rule = Rule(design.margin, FIGURES[found.figure].least)
            low, high, outcome = decided(contrast, next(levels), rule)
            found = found._replace(interval=(low, high), outcome=outcome if trusted else "unclear")
        differences.append(found)
    return ReportChanges(
        differences, not_compared, list(_remarks(before, after, differences)), trusted
    )


def _compared(
    found: Difference, before: list[float], after: list[float]
) -> tuple[Difference, Contrast | None]:
    """The difference with both means, and its contrast, if there are enough runs."""
    larger = FIGURES[found.figure].larger_is_better
    was, now = inference.mean(before), inference.mean(after)
    enough = min(len(before), len(after)) >= RUNS
    return (
        found._replace(before=was, after=now, ratio=now / was if larger else was / now),
        unpaired(after, before, larger_is_better=larger) if enough else None,
    )


def _key(result: Result) -> _Key:
    cell = result.arm, result.client, result.style, result.workload
    return (*cell, result.loop, result.concurrency, result.workers)


def _why_not(figure: str, cells: Sequence[Result]) -> str:
    """Why the figure cannot be compared; "" if it can."""
    if not all(cell.sound for cell in cells):
        return "it has errors or is void in one of the runs"
    if any(cell.overloaded for cell in cells):
        return "it is overloaded in one of the runs"
    if figure == "throughput" and any(cell.client_limited for cell in cells):
        return "the load generator was the limit in one of the runs"
    if cells[0].loop == "closed":
        return ""
    offered = [cell.rate.offered if cell.rate else 0.0 for cell in cells]
    if not _alike(min(offered), max(offered)):
        return f"arrival rates differ, {min(offered):,.0f}/s to {max(offered):,.0f}/s"
    return ""


def _alike(one: float, other: float) -> bool:
    return abs(one - other) <= _ALIKE * max(one, other)


def _remarks(
    before: Sequence[Report], after: Sequence[Report], found: Sequence[Difference]
) -> Iterator[str]:
    if found and min(len(before), len(after)) < RUNS:
        yield (
            f"{len(before)} and {len(after)} runs support no claims: the variance between runs is "
            f"not known. Give folders "
            f"with at least {RUNS} runs of each, or measure both in one run: ringback compare "
            f"--against VENV."
        )
    for name, runs in (("older", before), ("newer", after)):
        failed = [check.name for run in runs for check in run.checks if not check.ok]
        if not all(run.verdict.trusted for run in runs):
            why = ", ".join(dict.fromkeys(failed)) or "as its report says"
            yield f"One of the {name} runs cannot be trusted ({why}), so no difference is claimed."
    unlike = "; ".join(_unlike([*before, *after]))
    if unlike:
        yield f"The runs differ in {unlike}."
    cells = [{_key(each): each for each in run.results} for run in (*before, *after)]
    everywhere = set.intersection(*map(set, cells))
    alone = [what(each) for run in cells for key, each in run.items() if key not in everywhere]
    if alone:
        yield (
            f"Only in some of the runs, or with a different load: "
            f"{'; '.join(dict.fromkeys(alone))}."
        )


def _unlike(runs: Sequence[Report]) -> Iterator[str]:
    found = {name: [getattr(run.environment, name) for run in runs] for name in _MACHINE}
    found |= {name: [getattr(run.design, name) for run in runs] for name in _LAYOUT}
    steps = [run.environment.cpu_steps for run in runs]
    if not _alike(min(steps), max(steps)):  # measured anew in each run
        found["cpu_steps"] = steps
    for package in sorted({package for run in runs for package in run.environment.packages}):
        found[package] = [run.environment.packages.get(package) for run in runs]
    for name, each in found.items():
        distinct = list(dict.fromkeys(map(_text, each)))
        if len(distinct) > 1:
            yield f"{name.replace('_', ' ')} {', then '.join(distinct)}"


def _text(value: object) -> str:
    if value is None or value == "":
        return "none"
    if isinstance(value, float):
        return f"{value:g}"
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
