"""The sections of the page for workloads that are measured in several ways: each way's figures, its price, and what went wrong in it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from . import variants
from .drawing import ms, number
from .figures import told
from .results import Report, Result, WayComparison
from .variants import Kind
from .verdict import ways

_HEAD = (
    *("style", "client", "backend", "way", "calls/s", "beside none", "it is", "p50 ms", "p99 ms"),
    *("lost", "duplicated", "stale"),
)


class Section(NamedTuple):
    """One workload: the question, what is claimed, and the figures as a table."""

    name: str
    title: str
    question: str
    verdict: list[str]
    head: Sequence[str]
    rows: list[list[str]]


def sections(report: Report) -> Iterator[Section]:
    """One for each workload that was measured in several ways."""
    claims = {
        (prices.kind.workload, prices.client, prices.style, backend, way): claim
        for prices in variants.prices(report)
        for backend, found in prices.claims.items()
        for way, claim in found.items()
    }
    for kind in variants.measured(report):
        rows = [
            [
                *(group.style, group.client, group.backend, way),
                *_figures(
                    cell, claims.get((kind.workload, group.client, group.style, group.backend, way)), way
                ),
            ]
            for group in variants.groups(report.results)
            if group.kind is kind
            for way, cell in group.cells.items()
        ]
        yield Section(kind.workload, kind.title, kind.question, _verdict(report, kind), _HEAD, rows)


def _figures(cell: Result, claim: WayComparison | None, way: str) -> list[str]:
    latency = told(cell.latency, cell.calls)
    against, outcome = ("", "") if way == variants.PLAIN else ("-", "-")
    if claim is not None:
        low, high = claim.interval
        metric = "" if claim.metric == "throughput" else f"{claim.metric} "
        against, outcome = f"{metric}{claim.ratio:.2f} ({low:.2f} .. {high:.2f})", claim.outcome
    found = cell.consistency
    counts = (
        ["-"] * 3
        if found is None
        else [number(found.lost_updates), number(found.duplicated_effects), number(found.stale_reads)]
    )
    return [number(cell.throughput), against, outcome, ms(latency.p50), ms(latency.p99), *counts]


def _verdict(report: Report, kind: Kind) -> list[str]:
    """Only what an interval says, and what was counted."""
    said = (
        list(ways(report, kind))
        if report.verdict.trusted
        else ["This run cannot be trusted: no price is claimed."]
    )
    return [*said, variants.wrong(report, kind)]
