"""From rounds to claims: which backend differs from the best of its cell, one call style from the other, and a protected or quicker way
to do a thing from the plain one; corrected for all that the run claims.

Rounds are the unit, and paired; what is claimed and how it is corrected is in `inference`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec

from ..load.plan import FIRE_AND_CALLBACK, REQUEST_REPLY
from ..results import (
    Check,
    Comparison,
    Interval,
    Intervals,
    Outcome,
    Report,
    Result,
    StyleComparison,
    WayComparison,
)
from ..run.observe import CEILING
from ..workloads import variants
from . import inference, noise
from .figures import METRICS, value, values
from .inference import Claim
from .noise import Doubled

# From what part of all windows on, disturbed ones spoil the run.
_DISTURBED = 0.3

# A workload, a client and a call style.
Key = tuple[str, str, str]
_Groups = dict[Key, list[Result]]


class _Cell(NamedTuple):
    """What backends are compared by, in one cell; `values` by backend and, in the same order, round. Where a `backend` is named, what its
    call styles are compared by, and the values are by style; or, where a `way` is, what that is compared by, with the one that it is better
    or worse `than`. Those that are `limited` by the load generator can do more calls/s than they show, and their times are its own too."""

    workload: str
    client: str
    style: str
    metric: str
    values: dict[str, list[float]]
    undisturbed: list[int]
    backend: str = ""
    way: str = ""
    than: str = ""
    limited: tuple[str, ...] = ()


def analyse(report: Report, doubled: Sequence[Doubled]) -> None:
    """Fill in intervals, twins, checks and comparisons."""
    confidence = report.design.confidence
    for result in (*report.results, *report.peers):
        good = msgspec.structs.replace(result, rounds=result.good)
        result.interval = Intervals(
            **{metric: inference.interval(values(metric, good), confidence) for metric in METRICS}
        )
    groups = _groups(report.results)
    metrics = {key: _metric(group, searched=bool(report.searches)) for key, group in groups.items()}
    cells = [cell for key, group in groups.items() for cell in _cells(key, group, metrics[key])]
    within = [*_styles(groups), *_ways(report, groups)]
    report.twins = noise.twins(doubled, _claimed(metrics, within, doubled), confidence)
    report.twin = max(report.twins, key=lambda twin: (not twin.ok, noise.floor(twin)), default=None)
    claimed = [*cells, *within]
    report.checks = list(_checks(report, {cell.metric for cell in claimed}))
    report.comparisons, report.styles, report.ways = [], [], []
    _compare(report, claimed)


def _claimed(
    metrics: Mapping[Key, str], within: Sequence[_Cell], doubled: Sequence[Doubled]
) -> dict[Key, set[str]]:
    """The figures of each cell for which a noise floor is wanted: the one that it is judged by; and calls/s, where styles or ways are
    compared by them and no other cell that was measured twice is judged by them."""
    found = {key: {metric} for key, metric in metrics.items()}
    twice = {(each.workload, each.client, each.style) for each in doubled}
    if not any(metrics.get(key) == "throughput" for key in twice):
        compared = {each[:2] for each in within if each.metric == "throughput"}
        for key in twice & set(found):
            if key[:2] in compared:
                found[key].add("throughput")
    return found


def _checks(report: Report, metrics: set[str]) -> Iterator[Check]:
    windows = [made for result in report.results for made in result.rounds]
    if not windows:
        return
    if report.twins:
        says = ", ".join(
            f"{twin.metric} {twin.ratio:.3f} ({twin.interval[0]:.3f}..{twin.interval[1]:.3f})"
            for twin in report.twins
        )
        if unknown := metrics - {twin.metric for twin in report.twins}:
            says += f"; not known of {', '.join(sorted(unknown))}"
        rounds = max(twin.rounds for twin in report.twins)
        yield Check(
            "noise floor",
            all(twin.ok for twin in report.twins),
            f"a backend against itself in {rounds} rounds: {says}",
        )
    spoilt = sum(bool(made.contaminated) for made in windows)
    again = sum(made.repeated for made in windows)
    says = f"{spoilt} of {len(windows)} windows disturbed, {again} measured again"
    yield Check("undisturbed", spoilt <= _DISTURBED * len(windows), says)
    void = [result for result in report.results if result.void]
    open_laws = sum(not made.little.ok for made in windows)
    says = f"Little's law closes in {len(windows) - open_laws} of {len(windows)} windows; void cells: {len(void)}"
    yield Check("Little's law", len(void) * 2 <= len(report.results), says)


def _compare(report: Report, cells: Sequence[_Cell]) -> None:
    claims = [
        (cell, claim)
        for cell in cells
        for claim in (
            inference.pairs(cell.values, larger_is_better=cell.metric == "throughput")
            if not cell.backend
            else [inference.claim(cell.values, cell.way, cell.than)]
            if cell.way
            else [inference.claim(cell.values, FIRE_AND_CALLBACK, REQUEST_REPLY)]
        )
    ]
    ps = [claim.p for _, claim in claims]
    adjusted, levels = inference.holm(ps), inference.levels(ps, report.design.confidence)
    for (cell, claim), p_holm, level in zip(claims, adjusted, levels, strict=True):
        if not claim.shown:
            continue
        found = _judged(report, cell, claim, p_holm, level)
        if cell.way:
            found = _bounded(cell, found)
            report.ways.append(
                WayComparison(
                    cell.workload,
                    cell.client,
                    cell.style,
                    cell.backend,
                    claim.name,
                    claim.best,
                    cell.metric,
                    *found,
                )
            )
        elif cell.backend:
            report.styles.append(
                StyleComparison(
                    cell.workload, cell.client, cell.backend, claim.name, claim.best, cell.metric, *found
                )
            )
        else:
            report.comparisons.append(
                Comparison(
                    cell.workload, cell.client, cell.style, cell.metric, claim.name, claim.best, *found
                )
            )


def _groups(results: Sequence[Result]) -> _Groups:
    """Those of which anything can be claimed."""
    groups: _Groups = {}
    for result in results:
        if result.sound and not result.overloaded and len(result.good) > 1:
            groups.setdefault((result.workload, result.client, result.style), []).append(result)
    return groups


def _cells(key: Key, group: Sequence[Result], metric: str) -> Iterator[_Cell]:
    """The cell, if two backends at least have the figure in every round that is good of all."""
    found, undisturbed = _side_by_side({each.backend: each for each in group}, metric)
    if len(found) > 1:
        yield _Cell(*key, metric, found, undisturbed)


def _styles(groups: Mapping[Key, Sequence[Result]]) -> Iterator[_Cell]:
    """Both call styles of a backend, wherever callers wait for each other. Where the client is the limit, these calls/s are its own, and so
    they are meant."""
    for (workload, client, style), group in groups.items():
        if style != FIRE_AND_CALLBACK:
            continue
        waiting = {each.backend: each for each in groups.get((workload, client, REQUEST_REPLY), ())}
        for fired in group:
            if fired.loop == "closed" and fired.backend in waiting:
                both = {FIRE_AND_CALLBACK: fired, REQUEST_REPLY: waiting[fired.backend]}
                found, undisturbed = _side_by_side(both, "throughput")
                if len(found) == 2:
                    yield _Cell(workload, client, "", "throughput", found, undisturbed, fired.backend)


def _ways(report: Report, groups: Mapping[Key, Sequence[Result]]) -> Iterator[_Cell]:
    """Each way in which a workload was measured, beside the plain one."""
    for group in variants.groups(each for cells in groups.values() for each in cells):
        for way, cell in group.cells.items():
            plain = group.kind.plain
            if way == plain or plain not in group.cells:
                continue
            both = {way: cell, plain: group.cells[plain]}
            opened = cell.loop == "open"
            searched = bool(report.searches)
            metric = _metric(list(both.values()), searched=searched) if opened else group.kind.metric
            found, undisturbed = _side_by_side(both, metric)
            if len(found) == 2:
                limited = tuple(name for name, each in both.items() if client_limited(each))
                ends = group.kind.workload, group.client, group.style
                yield _Cell(*ends, metric, found, undisturbed, group.backend, way, plain, limited)


def _side_by_side(results: Mapping[str, Result], metric: str) -> tuple[dict[str, list[float]], list[int]]:
    """By name, the figures of the rounds that are good of all, if it has them all; and the places of those that nothing disturbed."""
    common = set.intersection(*({made.round for made in each.good} for each in results.values()))
    rounds = {name: [made for made in each.good if made.round in common] for name, each in results.items()}
    figures = {
        name: [found for made in made_rounds if (found := value(metric, made))]
        for name, made_rounds in rounds.items()
    }
    complete = {name: found for name, found in figures.items() if len(found) == len(common) > 1}
    quiet = [
        index
        for index in range(len(common))
        if not any(rounds[name][index].contaminated for name in complete)
    ]
    return complete, quiet


def _metric(group: Sequence[Result], *, searched: bool) -> str:
    """What the question of the cell is. Where the client is the limit, neither calls/s nor times say anything of a backend, but its CPU
    time does."""
    if any(client_limited(each) for each in group):
        return "server_cpu"
    if group[0].loop == "open":
        if searched or any(each.rate is not None and each.rate.peak for each in group):
            return "throughput"
        return "p99" if all(made.p99 for each in group for made in each.good) else "p50"
    if group[0].workload in ("lone", "idle"):
        return "p50"
    return variants.judged_by(group[0].workload)


def client_limited(result: Result) -> bool:
    """Whether its calls/s and times are those of the load generator."""
    return result.limit == "client" or (result.ceiling_share or 0.0) > CEILING


class _Judged(NamedTuple):
    """What both kinds of comparisons end with."""

    ratio: float
    interval: Interval
    p: float
    p_holm: float
    outcome: Outcome
    detectable: float
    rounds: int
    rounds_needed: int | None


def _judged(report: Report, cell: _Cell, claim: Claim, p_holm: float, level: float) -> _Judged:
    found = inference.paired(cell.values[claim.name], cell.values[claim.best], level)
    outcome = _outcome(report, cell, found)
    if outcome != "unclear" and len(cell.values[claim.name]) > len(cell.undisturbed) > 1:
        own, best = (
            [cell.values[name][index] for index in cell.undisturbed] for name in (claim.name, claim.best)
        )
        quiet = inference.paired(own, best, level)
        if _outcome(report, cell, quiet) != outcome:
            outcome = "unclear"  # what hangs on the disturbed rounds is not known
    needed = None
    if outcome == "unclear":
        needed = inference.rounds_needed(found.sd, found.ratio, report.design.margin, level)
    return _Judged(
        ratio=found.ratio,
        interval=found.interval,
        p=claim.p,
        p_holm=p_holm,
        outcome=outcome,
        detectable=inference.detectable(found.sd, found.rounds, level),
        rounds=found.rounds,
        rounds_needed=needed,
    )


def _bounded(cell: _Cell, found: _Judged) -> _Judged:
    """What can do more calls/s than it shows, or be quicker, is surely better than what it beats; all else is not known of it."""
    hidden = [*(("worse", "equal") if cell.way in cell.limited else ())]
    hidden += ("better", "equal") if cell.than in cell.limited else ()
    if cell.metric != "server_cpu" and found.outcome in hidden:
        return found._replace(outcome="unclear")
    return found


def _outcome(report: Report, cell: _Cell, found: inference.Paired) -> Outcome:
    if not all(check.ok for check in report.checks):
        return "unclear"  # nothing is claimed by a run that cannot be trusted
    floor = max((noise.floor(twin) for twin in report.twins if twin.metric == cell.metric), default=0.0)
    return inference.outcome(
        found.ratio,
        found.interval,
        report.design.margin,
        larger_is_better=cell.metric == "throughput",
        floor=floor,
    )
