"""The tables of a report as texts, for both the terminal and the page."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec

from ..results import Report, Result
from ..statistics.figures import FIGURES, ratio, reliable
from ..workloads import variants
from ..workloads.table import ITEMS, SLOW
from .difference import ReportChanges
from .names import what

RANKS = ("p50", "p90", "p99", "p999", "max")


class Table(NamedTuple):
    """Column headings, and rows with a text for each column."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]


def changed(changes: ReportChanges) -> Table:
    """The figures before and after, and their ratio."""
    rows = []
    for each in changes.differences:
        figure = FIGURES[each.figure]
        beside = f"{each.ratio:.2f}"
        if each.interval is not None:
            beside = f"{ratio(each.ratio, *each.interval)} {each.outcome}"
        rows.append(
            (what(each), figure.title, figure.text(each.before), figure.text(each.after), beside)
        )
    return Table(("", "figure", "before", "after", "after vs before"), rows)


def predicted(report: Report) -> Table:
    """The predictions of the models, and the measured values."""
    rows = []
    for each in report.predictions:
        figure = FIGURES[each.figure]
        values = figure.text(each.predicted), figure.text(each.measured)
        rows.append(
            (
                what(each),
                each.model,
                each.inputs,
                figure.title,
                *values,
                f"{each.error:+.0%}",
                each.judgement,
            )
        )
    return Table(
        ("cell", "model", "from", "figure", "predicted", "measured", "error", "judgement"), rows
    )


def claimed(report: Report) -> Table:
    """Every claim, the arms first."""
    rows = []
    for each in report.claims:
        other = f"{each.against_workload}, {each.against_style}: {each.against}"
        rows.append(
            (
                what(each),
                FIGURES[each.figure].words,
                each.against if each.of_arms else other,
                ratio(each.ratio, each.low, each.high, digits=3),
                each.wording,
                f"{each.detectable:.1%}",
            )
        )
    return Table(("", "figure", "compared with", "ratio", "verdict", "detectable"), rows)


def trusted(report: Report) -> Table:
    """The checks of the run, and their outcomes."""
    rows = [("ok" if each.ok else "no", each.name, each.says) for each in report.checks]
    if report.claims:
        seen = sorted(each.detectable for each in report.claims)
        says = (
            f"it detects differences of {seen[0]:.0%} to {seen[-1]:.0%}, by cell, 80 % of the time"
        )
        rows.append(("ok", "sensitivity", says))
    if not report.complete:
        rows.append(("no", "complete", "; ".join(report.failures) or "the run was interrupted"))
    return Table(("", "check", "outcome"), rows)


def measured(results: Iterable[Result]) -> Table:
    """All figures of each cell, and the times of each method if it calls several."""
    rows: list[list[str]] = []
    for each in results:
        ends = [each.style, each.arm, each.client]
        load = str(each.concurrency) if each.rate is None else f"{each.rate.offered:,.0f}/s"
        calls = FIGURES["throughput"].text(each.throughput)
        costs = [
            FIGURES["server_cpu"].text(each.cpu.server_per_call),
            FIGURES["client_cpu"].text(each.cpu.client_per_call),
        ]
        notes = "; ".join(details(each))
        rows.append([each.workload, *ends, load, calls, *times(each), *costs, limit(each), notes])
        for method, found in methods(each).items():
            rows.append([f"{each.workload}: {method}", *ends, "", "", *found, *[""] * 4])
    head = (
        "workload",
        "style",
        "arm",
        "client",
        "load",
        "calls/s",
        "p50 ms",
        "p90",
        "p99",
        "p99.9",
        "max",
    )
    return Table((*head, "server us", "client us", "limit", "notes"), rows)


def environment(report: Report) -> Table:
    """The design of the run, and its environment."""
    rows = []
    for part in (report.design, report.environment):
        for name, value in msgspec.to_builtins(part).items():
            if value in (None, "", [], {}) or name == "explanations":
                continue
            if isinstance(value, dict):
                value = ", ".join(f"{key} {each}" for key, each in value.items() if each)
            rows.append(
                (name.replace("_", " "), value if isinstance(value, str) else json.dumps(value))
            )
    return Table(("field", "value"), rows)


def limit(result: Result) -> str:
    """The limit of a cell, or "void"."""
    return "void" if result.void else result.limit


def times(result: Result, ranks: Sequence[str] = RANKS) -> list[str]:
    """The response times at these ranks."""
    if result.overloaded:
        return ["overloaded", *[""] * (len(ranks) - 1)]
    shown = reliable(result.latency, result.calls)
    return [FIGURES[rank].text(getattr(shown, rank)) for rank in ranks]


def methods(result: Result, ranks: Sequence[str] = RANKS) -> dict[str, list[str]]:
    """The response times of each method, if the cell calls several. The rarest method of any
    workload has a tenth of all calls."""
    shown = {
        method: reliable(found, result.calls * SLOW) for method, found in result.methods.items()
    }
    return {
        method: [FIGURES[rank].text(getattr(found, rank)) for rank in ranks]
        for method, found in shown.items()
    }


def details(result: Result) -> Iterator[str]:
    """Details of some workloads, and errors."""
    if result.rate is not None and result.rate.peak:
        part = result.throughput / result.rate.peak
        yield f"{part:.0%} of its {result.rate.peak:,.0f} calls/s in a closed loop"
    if result.workload == "stream":
        yield f"{result.throughput * ITEMS:,.0f} items/s"
    if result.consistency is not None:
        yield variants.described(result.consistency) or "consistent"
    if result.errors:
        yield f"errors: {codes(result.errors_by_code)}"
    if result.wrong:
        yield f"{result.wrong:,} wrong: {result.why}"


def codes(errors: Mapping[str, int]) -> str:
    """The counts of errors by code, as text."""
    return ", ".join(f"{number:,} {code}" for code, number in errors.items())
