"""From rounds to claims: which backend differs from the best of its cell, corrected for everything that the run claims.

Rounds are the unit, and paired; what is claimed and how it is corrected is in `inference`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec

from . import inference, noise
from .difference import METRICS, value, values
from .inference import Claim
from .noise import Doubled
from .observe import CEILING
from .results import Check, Comparison, Intervals, Outcome, Report, Result

# From what part of all windows on, disturbed ones spoil the run.
_DISTURBED = 0.3

# Results by workload, client and style.
_Groups = dict[tuple[str, str, str], list[Result]]


class _Cell(NamedTuple):
    """What backends are compared by, in one cell; `values` by backend and, in the same order, round."""

    workload: str
    client: str
    style: str
    metric: str
    values: dict[str, list[float]]
    undisturbed: list[int]


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
    report.twins = noise.twins(doubled, {key: (metric,) for key, metric in metrics.items()}, confidence)
    report.twin = max(report.twins, key=lambda twin: (not twin.ok, noise.floor(twin)), default=None)
    report.checks = list(_checks(report))
    report.comparisons = _comparisons(
        report, [cell for key, group in groups.items() for cell in _cells(key, group, metrics[key])]
    )


def _checks(report: Report) -> Iterator[Check]:
    windows = [made for result in report.results for made in result.rounds]
    if not windows:
        return
    if report.twins:
        says = ", ".join(
            f"{twin.metric} {twin.ratio:.3f} ({twin.interval[0]:.3f}..{twin.interval[1]:.3f})"
            for twin in report.twins
        )
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


def _comparisons(report: Report, cells: Sequence[_Cell]) -> list[Comparison]:
    claims = [
        (cell, claim)
        for cell in cells
        for claim in inference.pairs(cell.values, larger_is_better=cell.metric == "throughput")
    ]
    ps = [claim.p for _, claim in claims]
    adjusted, levels = inference.holm(ps), inference.levels(ps, report.design.confidence)
    return [
        _comparison(report, cell, claim, p_holm, level)
        for (cell, claim), p_holm, level in zip(claims, adjusted, levels, strict=True)
        if claim.shown
    ]


def _groups(results: Sequence[Result]) -> _Groups:
    """Those of which anything can be claimed."""
    groups: _Groups = {}
    for result in results:
        if result.sound and not result.overloaded and len(result.good) > 1:
            groups.setdefault((result.workload, result.client, result.style), []).append(result)
    return groups


def _cells(key: tuple[str, str, str], group: Sequence[Result], metric: str) -> Iterator[_Cell]:
    """The cell, if two backends at least have the figure in every round that is good of all."""
    common = set.intersection(*({made.round for made in each.good} for each in group))
    rounds = {each.backend: [made for made in each.good if made.round in common] for each in group}
    figures = {
        backend: [found for made in made_rounds if (found := value(metric, made))]
        for backend, made_rounds in rounds.items()
    }
    complete = {backend: found for backend, found in figures.items() if len(found) == len(common) > 1}
    if len(complete) > 1:
        quiet = [
            index
            for index in range(len(common))
            if not any(rounds[backend][index].contaminated for backend in complete)
        ]
        yield _Cell(*key, metric, complete, quiet)


def _metric(group: Sequence[Result], *, searched: bool) -> str:
    """What the question of the cell is. Where the client is the limit, neither calls/s nor times say anything of a backend, but its CPU
    time does."""
    if any(client_limited(each) for each in group):
        return "server_cpu"
    if group[0].loop == "open":
        if searched:
            return "throughput"
        return "p99" if all(made.p99 for each in group for made in each.good) else "p50"
    return "p50" if group[0].workload in ("lone", "idle") else "throughput"


def client_limited(result: Result) -> bool:
    """Whether its calls/s and times are those of the load generator."""
    return result.limit == "client" or (result.ceiling_share or 0.0) > CEILING


def _comparison(report: Report, cell: _Cell, claim: Claim, p_holm: float, level: float) -> Comparison:
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
    return Comparison(
        workload=cell.workload,
        client=cell.client,
        style=cell.style,
        metric=cell.metric,
        backend=claim.name,
        best=claim.best,
        ratio=found.ratio,
        interval=found.interval,
        p=found.p,
        p_holm=p_holm,
        outcome=outcome,
        detectable=inference.detectable(found.sd, found.rounds, level),
        rounds=found.rounds,
        rounds_needed=needed,
    )


def _outcome(report: Report, cell: _Cell, found: inference.Paired) -> Outcome:
    floor = max((noise.floor(twin) for twin in report.twins if twin.metric == cell.metric), default=0.0)
    return inference.outcome(
        found.ratio,
        found.interval,
        report.design.margin,
        larger_is_better=cell.metric == "throughput",
        floor=floor,
    )
