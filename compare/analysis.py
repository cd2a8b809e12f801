"""From rounds to claims: which backend differs from the best of its cell, corrected for everything that the run claims.

Rounds are the unit, and paired; what is claimed and how it is corrected is in `inference`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import exp, log
from typing import NamedTuple

from . import inference
from .figures import METRICS, value, values
from .inference import Claim
from .observe import CEILING
from .results import Check, Comparison, Intervals, Outcome, Report, Result, Twin

# A backend that differs from itself by chance so rarely spoils the run.
_TWIN_ALPHA = 0.01

# From what part of all windows on, disturbed ones spoil the run.
_DISTURBED = 0.3

Twins = Sequence[tuple[str, str, str, int, float, float]]


class _Cell(NamedTuple):
    """What backends are compared by, in one cell; `values` by backend and, in the same order, round."""

    workload: str
    client: str
    style: str
    metric: str
    values: dict[str, list[float]]
    undisturbed: list[int]


def analyse(report: Report, twins: Twins) -> None:
    """Fill in intervals, the twin, checks and comparisons."""
    confidence = report.design.confidence
    for result in (*report.results, *report.peers):
        result.interval = Intervals(
            **{metric: inference.interval(values(metric, result), confidence) for metric in METRICS}
        )
    report.twin = _twin(twins, confidence)
    report.checks = list(_checks(report))
    report.comparisons = _comparisons(report)


def _twin(twins: Twins, confidence: float) -> Twin | None:
    """All call styles of a round together, as the round is the unit."""
    rounds: dict[int, list[float]] = {}
    for *_, number, own, other in twins:
        rounds.setdefault(number, []).append(log(own / other))
    if len(rounds) < 2:
        return None
    means = [sum(logs) / len(logs) for logs in rounds.values()]
    found = inference.paired([exp(each) for each in means], [1.0] * len(means), confidence)
    workload, client = twins[0][:2]
    styles = ", ".join(sorted({style for _, _, style, *_ in twins}))
    return Twin(workload, client, styles, found.ratio, found.interval, len(rounds), found.p >= _TWIN_ALPHA)


def _checks(report: Report) -> Iterator[Check]:
    windows = [made for result in report.results for made in result.rounds]
    if not windows:
        return
    if report.twin is not None:
        low, high = report.twin.interval
        says = f"a backend against itself: {report.twin.ratio:.3f} ({low:.3f}..{high:.3f}) in {report.twin.rounds} rounds"
        yield Check("noise floor", report.twin.ok, says)
    spoilt = sum(bool(made.contaminated) for made in windows)
    again = sum(made.repeated for made in windows)
    says = f"{spoilt} of {len(windows)} windows disturbed, {again} measured again"
    yield Check("undisturbed", spoilt <= _DISTURBED * len(windows), says)
    void = [result for result in report.results if result.void]
    open_laws = sum(not made.little.ok for made in windows)
    says = f"Little's law closes in {len(windows) - open_laws} of {len(windows)} windows; void cells: {len(void)}"
    yield Check("Little's law", len(void) * 2 <= len(report.results), says)


def _comparisons(report: Report) -> list[Comparison]:
    cells = list(_cells(report.results, searched=bool(report.searches)))
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


def _cells(results: Sequence[Result], *, searched: bool) -> Iterator[_Cell]:
    groups: dict[tuple[str, str, str], list[Result]] = {}
    for result in results:
        if result.sound and not result.overloaded and len(result.rounds) > 1:
            groups.setdefault((result.workload, result.client, result.style), []).append(result)
    for key, group in groups.items():
        metric = _metric(group, searched=searched)
        common = set.intersection(*({made.round for made in each.rounds} for each in group))
        rounds = {each.backend: [made for made in each.rounds if made.round in common] for each in group}
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


def _metric(group: list[Result], *, searched: bool) -> str:
    """What the question of the cell is. Where the client is the limit, calls/s say nothing of a backend, but its CPU time does."""
    if group[0].loop == "open":
        if searched:
            return "throughput"
        return "p99" if all(made.p99 for each in group for made in each.rounds) else "p50"
    if group[0].workload in ("lone", "idle"):
        return "p50"
    return "server_cpu" if any(client_limited(each) for each in group) else "throughput"


def client_limited(result: Result) -> bool:
    """Whether its calls/s are those of the load generator."""
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
    floor = 0.0
    if report.twin is not None:
        low, high = report.twin.interval
        floor = max(high, 1 / low) - 1
    return inference.outcome(
        found.ratio,
        found.interval,
        report.design.margin,
        larger_is_better=cell.metric == "throughput",
        floor=floor,
    )
