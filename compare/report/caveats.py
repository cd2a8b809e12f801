"""Caveats of a run, in words: figures that are not reliable, work left out, and the method."""

from __future__ import annotations

from collections.abc import Iterator

from ..results import Report, Result
from ..statistics.analysis import FEWEST
from ..statistics.figures import FIGURES, percent
from ..workloads import variants
from .names import contests

# Figures that are medians of a cell's slices or calls.
_BY_MEDIAN = ("throughput", "p50")
# A machine that always ran at this fraction of its best speed, or faster, has no caveat.
_STEADY = 0.9


def caveats(report: Report) -> Iterator[str]:
    """All caveats: first the problems, then the method."""
    if not report.results:
        yield "Nothing was measured."
    else:
        yield from _of_run(report)
        for result in report.results:
            yield from _of_cell(result)
        yield from _rare(report)
        yield from _method(report)
    if report.design.dropped:
        names = ", ".join(report.design.dropped)
        yield f"Left out for lack of time: {names}. Give more with --time."
    for peer, cells in report.design.lacking.items():
        yield f"{peer} does not support: {'; '.join(cells)}."
    if report.skipped:
        names = ", ".join(report.skipped)
        yield (
            f"Not measured, as the library is not installed: {names}. Install all: pip install "
            f"'ringback[all]'."
        )


def _of_run(report: Report) -> Iterator[str]:
    if report.environment.quick:
        yield "A quick run is only indicative: it has few slices and few rounds."
    if 0 < report.design.rounds < FEWEST:
        yield (
            f"Fewer than {FEWEST} rounds support no claims: the variance of the figures is not "
            f"known."
        )
    if report.speed is not None and report.speed.slowest < _STEADY:
        yield (
            f"This machine ran at {report.speed.slowest:.0%} to 100% of its best speed (median "
            f"{report.speed.median:.0%}); the intervals account for that."
        )


def _of_cell(result: Result) -> Iterator[str]:
    what = f"{result.arm} in {result.workload}, {result.style}, {result.client} client"
    if result.void:
        yield f"Void: {what}: {result.void}."
    elif result.overloaded and result.rate is not None:
        yield (
            f"Overloaded: {what}: {result.rate.offered:,.0f} calls/s arrived, "
            f"{result.rate.achieved:,.0f} were "
            f"answered; {result.rate.skipped:,} calls were never sent."
        )
    if broken := variants.broken(result):
        yield f"Inconsistent: {what}: {broken}."
    # A generator that sends late measures itself.
    if result.loop == "open" and result.limit == "client" and result.slip is not None:
        yield (
            f"Sent late: {what}: the p99 of the delay is {FIGURES['p99'].text(result.slip.p99)} ms."
        )


def _rare(report: Report) -> Iterator[str]:
    """Claims by the median of slices that the mean contradicts, as a few slices were far slower."""
    cells = {(each.workload, each.client, each.style, each.arm): each for each in report.results}
    for name, claims in contests(report).items():
        for claim in claims if claims[0].figure in _BY_MEDIAN else ():
            cell = claim.workload, claim.client, claim.style
            better, other = (cells[(*cell, arm)] for arm in (claim.arm, claim.against))
            if claim.figure == "throughput":
                mean = better.throughput / other.throughput
            else:
                mean = (other.latency.mean or 0.0) / (better.latency.mean or 1.0)
            if mean and mean < min(claim.low, 1 - report.design.margin):
                yield (
                    f"Rare slow slices: {name}: by the mean {claim.arm} is {percent(1 - mean)} "
                    f"worse than "
                    f"{claim.against}, contrary to the median of slices."
                )


def _method(report: Report) -> Iterator[str]:
    design = report.design
    yield (
        f"Handlers that are not inline run in up to {design.workers} threads, on gevent in up to "
        f"{design.workers} "
        f"greenlets (--workers {design.workers})."
    )
    if design.state:
        yield f"Counters are stored in {design.state}."
    peers = {each.backend: each.difference for each in report.peers}
    yield from (f"({name}) {difference}." for name, difference in peers.items())
