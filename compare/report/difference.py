"""Runs of before and of after: what changed, how sure that is, and what cannot be told of them.

The run is the unit, not the round: a run has an effect of its own, of how its processes and its machine happened to be, that all its rounds
share. So one run of each claims nothing. Only like is compared with like: a cell of as many callers, workers and servers, and calls that
come at the same rate.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from math import isnan, log
from typing import Any, NamedTuple

import msgspec
from scipy import stats

from ..results import Interval, Outcome, Report, Result
from ..statistics import inference
from ..statistics.analysis import client_limited
from ..statistics.figures import FIGURES, values
from .names import what, who

# What a cell is compared by: in a closed loop the median response time is the throughput once more, by Little's law.
_CLOSED = ("throughput", "p99", "server_cpu")
_OPEN = ("p50", "p99", "server_cpu")

# With fewer runs of either nothing is claimed: how runs differ by themselves is not known.
RUNS = 3

# So far apart, as a part of either, rates at which calls come are still the same, and the steps of `cpu` the same work.
_ALIKE = 0.05

# What figures depend on, beside what tells cells apart.
_MACHINE = ("ringback", "implementation", "python", "gil", "kernel", "cpu_model", "cpus")
_LAYOUT = ("pinned", "arrivals", "workers", "limit", "duet")

_Key = tuple[str, str, str, str, str, int, int, int]


class Difference(NamedTuple):
    """One figure of one cell, the geometric mean of the runs of either. A `ratio` above 1 means that after is better; there is an
    `interval` where there are runs enough."""

    arm: str
    client: str
    style: str
    workload: str
    figure: str
    before: float
    after: float
    ratio: float
    interval: Interval | None
    outcome: Outcome

    @property
    def name(self) -> str:
        """Who it is said of."""
        return who(self)


class Untold(NamedTuple):
    """A figure of a cell that all runs have, which cannot be compared, and why."""

    arm: str
    client: str
    style: str
    workload: str
    figure: str
    why: str


class Changes(NamedTuple):
    """From some runs to others. `remarks` say in what they differ that was not to be measured, and whether they can be trusted."""

    differences: Sequence[Difference] = ()
    untold: Sequence[Untold] = ()
    remarks: Sequence[str] = ()
    trusted: bool = True

    def omitted(self) -> Iterator[str]:
        """What is untold, in a line for each reason and group of cells."""
        groups: dict[tuple[str, str, str, str], list[str]] = {}
        for each in self.untold:
            groups.setdefault((each.workload, each.style, each.figure, each.why), []).append(who(each))
        for (workload, style, figure, why), names in groups.items():
            yield f"Not compared: {figure} of {workload}, {style} ({'; '.join(names)}): {why}."


UNCHANGED = Changes()


class _Pair(NamedTuple):
    """A figure of one cell, by run."""

    cell: Result
    figure: str
    before: list[float]
    after: list[float]

    @property
    def tested(self) -> bool:
        return min(len(self.before), len(self.after)) >= RUNS

    def welch(self) -> Any:
        """The test of whether after is better. Source: Welch 1947, Biometrika 34(1-2), with Satterthwaite's degrees of freedom."""
        side = 1 if FIGURES[self.figure].larger_is_better else -1
        after, before = ([side * log(each) for each in runs] for runs in (self.after, self.before))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # of runs that are the same to the last digits
            return stats.ttest_ind(after, before, equal_var=False)


def changes(before: Sequence[Report], after: Sequence[Report]) -> Changes:
    """Of all cells that all runs have. Intervals are corrected for their number; where a run cannot be trusted all is unclear."""
    runs = [*before, *after]
    cells = [{_key(result): result for result in run.results} for run in runs]
    found: list[_Pair] = []
    untold = []
    for key, now in cells[len(before)].items():
        if not all(key in each for each in cells):
            continue
        everywhere = list(zip((each[key] for each in cells), runs, strict=True))
        for figure in _figures(now, runs):
            each_run = [_values(figure, cell, run) for cell, run in everywhere]
            why = _why_not(figure, everywhere)
            if not why and not all(each_run):
                why = "a run has it in no round, or of too few calls in one"
            if why:
                untold.append(Untold(now.arm, now.client, now.style, now.workload, figure, why))
            else:
                means = [inference.mean(each) for each in each_run]
                found.append(_Pair(now, figure, means[: len(before)], means[len(before) :]))
    trusted = all(run.verdict.trusted for run in runs)
    tests = [pair.welch() if pair.tested else None for pair in found]
    design = after[0].design
    ps = [
        1.0 if isnan(test.pvalue) else float(test.pvalue) for test in tests if test
    ]  # where all runs are the same, it is none
    levels = iter(inference.levels(ps, design.confidence))
    differences = [
        _difference(pair, test, next(levels) if test else 0.0, design.margin, trusted=trusted)
        for pair, test in zip(found, tests, strict=True)
    ]
    return Changes(differences, untold, list(_remarks(before, after, differences)), trusted)


def _key(result: Result) -> _Key:
    cell = result.arm, result.client, result.style, result.workload
    return (*cell, result.loop, result.concurrency, result.workers, result.servers)


def _figures(cell: Result, runs: Sequence[Report]) -> Sequence[str]:
    if any(run.design.duet for run in runs):
        return ("server_cpu",)  # all else hangs on the servers that worked at the same time
    if cell.loop == "closed":
        return _CLOSED
    return ("throughput", *_OPEN) if all(run.searches for run in runs) else _OPEN


def _values(figure: str, cell: Result, report: Report) -> list[float]:
    """By round; the throughput of a search is the rate that it found."""
    if figure == "throughput" and cell.loop == "open":
        return _found(cell, report)
    return values(figure, cell)


def _found(cell: Result, report: Report) -> list[float]:
    own = cell.arm, cell.client, cell.style, cell.workload
    rates = [
        each.passes for each in report.searches if (each.arm, each.client, each.style, each.workload) == own
    ]
    return rates if all(rates) else []


def _why_not(figure: str, everywhere: Sequence[tuple[Result, Report]]) -> str:
    """Why the figure says nothing; "" where it does."""
    cells = [cell for cell, _ in everywhere]
    if not all(cell.sound for cell in cells):
        return "in one of the runs it has errors, or is void"
    if any(cell.overloaded for cell in cells):
        return "in one of the runs more calls came than were answered"
    if figure == "throughput" and any(client_limited(cell) for cell in cells):
        return "in one of the runs the load generator was the limit"
    if cells[0].loop == "closed":
        return ""
    if figure == "throughput":
        if len({frozenset(each.objective for each in run.searches) for _, run in everywhere}) > 1:
            return "the runs searched for other objectives"
        if not all(_found(cell, run) for cell, run in everywhere):
            return "in some round no rate kept the objective"
        return ""
    offered = [cell.rate.offered if cell.rate else 0.0 for cell in cells]
    if not _alike(min(offered), max(offered)):
        return f"calls came at other rates, {min(offered):,.0f}/s to {max(offered):,.0f}/s"
    return ""


def _alike(one: float, other: float) -> bool:
    return abs(one - other) <= _ALIKE * max(one, other)


def _difference(pair: _Pair, test: Any, level: float, margin: float, *, trusted: bool) -> Difference:
    was, now = inference.mean(pair.before), inference.mean(pair.after)
    ratio = now / was if FIGURES[pair.figure].larger_is_better else was / now
    interval: Interval | None = None
    outcome: Outcome = "unclear"
    if test is not None:
        ends = [inference.ratio(float(end)) for end in test.confidence_interval(level)]
        interval = (ratio, ratio) if isnan(ends[0]) else (ends[0], ends[1])
        outcome = _outcome(*interval, margin) if trusted else outcome
        if outcome != "equal" and max(ratio, 1 / ratio) < FIGURES[pair.figure].least:
            outcome = "unclear"
    cell = pair.cell
    return Difference(
        cell.arm, cell.client, cell.style, cell.workload, pair.figure, was, now, ratio, interval, outcome
    )


def _outcome(low: float, high: float, margin: float) -> Outcome:
    if low >= 1 / (1 + margin) and high <= 1 + margin:
        return "equal"
    return "better" if low > 1 else "worse" if high < 1 else "unclear"


def _remarks(before: Sequence[Report], after: Sequence[Report], found: Sequence[Difference]) -> Iterator[str]:
    if found and min(len(before), len(after)) < RUNS:
        yield (
            f"{len(before)} and {len(after)} runs claim nothing: runs differ by themselves, and by how much is not known. Give "
            f"folders with {RUNS} runs or more of each, or measure both in one run: ringback compare --against VENV."
        )
    for name, runs in (("older", before), ("newer", after)):
        failed = [check.name for run in runs for check in run.checks if not check.ok]
        if not all(run.verdict.trusted for run in runs):
            why = ", ".join(dict.fromkeys(failed)) or "it says so"
            yield f"A run of the {name} cannot be trusted ({why}), so no difference is claimed."
    unlike = "; ".join(_unlike([*before, *after]))
    if unlike:
        yield f"Not alike in all runs: {unlike}."
    cells = [{_key(each): each for each in run.results} for run in (*before, *after)]
    everywhere = set.intersection(*map(set, cells))
    alone = [what(each) for run in cells for key, each in run.items() if key not in everywhere]
    if alone:
        yield f"In some of the runs only, or there with another load: {'; '.join(dict.fromkeys(alone))}."


def _unlike(runs: Sequence[Report]) -> Iterator[str]:
    found = {name: [getattr(run.environment, name) for run in runs] for name in _MACHINE}
    found |= {name: [getattr(run.design, name) for run in runs] for name in _LAYOUT}
    steps = [run.environment.cpu_steps for run in runs]
    if not _alike(min(steps), max(steps)):  # it is measured anew in each run
        found["cpu_steps"] = steps
    for package in sorted({package for run in runs for package in run.environment.packages}):
        found[package] = [run.environment.packages.get(package) for run in runs]
    for name, each in found.items():
        told = list(dict.fromkeys(map(_text, each)))
        if len(told) > 1:
            yield f"{name.replace('_', ' ')} {', then '.join(told)}"


def _text(value: object) -> str:
    if value is None or value == "":
        return "none"
    if isinstance(value, float):
        return f"{value:g}"
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
