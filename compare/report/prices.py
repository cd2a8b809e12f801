"""The sections of the page for workloads that are measured in several ways: each way's figures, its price, and what went wrong in it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from msgspec.structs import astuple

from ..results import Claim, Report, Result
from ..statistics.figures import FIGURES, told
from ..workloads import variants
from ..workloads.variants import Kind
from .verdict import ways

_CHECKED = ("lost", "duplicated", "stale")


def _head(kind: Kind) -> tuple[str, ...]:
    cell = (
        "style",
        "client",
        "arm",
        "way",
        "calls/s",
        f"beside {kind.plain}",
        "it is",
        "p50 ms",
        "p99 ms",
    )
    return (*cell, *_CHECKED)


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
        (prices.kind.workload, prices.client, prices.style, arm, way): claim
        for prices in variants.prices(report)
        for arm, found in prices.claims.items()
        for way, claim in found.items()
    }
    for kind in variants.measured(report):
        rows = [
            [
                *(group.style, group.client, group.arm, way),
                *_figures(
                    cell,
                    claims.get((kind.workload, group.client, group.style, group.arm, way)),
                    group.kind,
                    way,
                ),
            ]
            for group in variants.groups(report.results)
            if group.kind is kind
            for way, cell in group.cells.items()
        ]
        yield Section(kind.workload, kind.title, kind.question, _verdict(report, kind), _head(kind), rows)


def _figures(cell: Result, claim: Claim | None, kind: Kind, way: str) -> list[str]:
    latency = told(cell.latency, cell.calls)
    against, outcome = ("", "") if way == kind.plain else ("-", "-")
    if claim is not None:
        figure = "" if claim.figure == "throughput" else f"{claim.figure} "
        against = f"{figure}{claim.ratio:.2f} ({claim.low:.2f} .. {claim.high:.2f})"
        outcome = claim.said
    return [
        FIGURES["throughput"].text(cell.throughput),
        against,
        outcome,
        FIGURES["p50"].text(latency.p50),
        FIGURES["p99"].text(latency.p99),
        *_counted(cell),
    ]


def _counted(cell: Result) -> list[str]:
    found = cell.consistency
    if found is None:
        return ["-"] * 3
    return [f"{each:,}" for each in astuple(found)]


def _verdict(report: Report, kind: Kind) -> list[str]:
    """Only what an interval says, and what was counted."""
    said = (
        list(ways(report, kind))
        if report.verdict.trusted
        else ["This run cannot be trusted: no price is claimed."]
    )
    return [*said, *variants.counted(report, kind)]
