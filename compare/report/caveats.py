"""What goes with the figures of a run, in words: how they came about, what was not measured, and what is wrong with some of them."""

from __future__ import annotations

from collections.abc import Iterator

from ..results import Report, Result
from ..statistics.analysis import FEWEST
from ..statistics.figures import FIGURES, percent
from ..workloads import variants
from .names import contests

# Of a cell, by the median of its slices or calls.
_BY_MEDIAN = ("throughput", "p50")
# A machine that never ran slower than this, beside its best, needs no word.
_STEADY = 0.9


def caveats(report: Report) -> Iterator[str]:
    """All of them: first what is wrong, then how it was measured."""
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
        yield f"Left out, as there was no time for five rounds of it: {names}. Give more with --time."
    for peer, cells in report.design.lacking.items():
        yield f"No line of {peer}, which has nothing for it: {'; '.join(cells)}."
    if report.skipped:
        names = ", ".join(report.skipped)
        yield f"Not measured, for want of the library: {names}. All of them: pip install 'ringback[all]'."


def _of_run(report: Report) -> Iterator[str]:
    if report.environment.quick:
        yield "A quick run is indicative: few slices, few rounds."
    if 0 < report.design.rounds < FEWEST:
        yield f"Fewer than {FEWEST} rounds claim nothing: how the figures scatter is not known."
    if report.speed is not None and report.speed.slowest < _STEADY:
        yield (
            f"This machine ran at {report.speed.slowest:.0%} to 100% of its best speed, at {report.speed.median:.0%} for half of the time; "
            "the intervals allow for that."
        )


def _of_cell(result: Result) -> Iterator[str]:
    what = f"{result.arm} in {result.workload}, {result.style}, {result.client} client"
    if result.void:
        yield f"Void: {what}: {result.void}."
    elif result.overloaded and result.rate is not None:
        yield (
            f"Overloaded: {what}: {result.rate.offered:,.0f} calls/s came, {result.rate.achieved:,.0f} were answered, "
            f"{result.rate.skipped:,} never sent."
        )
    if broken := variants.broken(result):
        yield f"Inconsistent: {what}: {broken}."
    # A generator that could not send in time has measured itself.
    if result.loop == "open" and result.limit == "client" and result.slip is not None:
        yield f"Sent late: {what}: p99 of how late is {FIGURES['p99'].text(result.slip.p99)} ms."


def _rare(report: Report) -> Iterator[str]:
    """Where the mean contradicts what the median of slices says: some slices, rare ones, were far slower."""
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
                    f"Rare slow slices: {name}: by its mean {claim.arm} is {percent(1 - mean)} worse than {claim.against}, "
                    "where the median of slices says other."
                )


def _method(report: Report) -> Iterator[str]:
    design = report.design
    yield (
        f"Handlers that are not inline run on gevent in up to {design.workers} greenlets, elsewhere in up to {design.workers} threads "
        f"(--workers {design.workers})."
    )
    if design.state:
        yield f"Counters in {design.state}."
    peers = {each.backend: each.difference for each in report.peers}
    yield from (f"({name}) {difference}." for name, difference in peers.items())
