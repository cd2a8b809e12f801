"""A report as one HTML page that needs no network: what the run says, whether to trust it, and plots with the questions they answer."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import msgspec
from jinja2 import Environment, PackageLoader
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from ..results import Latency, Report, Result
from ..statistics.analysis import client_limited
from ..statistics.figures import told
from . import plots, plots_of_times, prices
from .difference import UNCHANGED, Changes
from .drawing import Plot, ms, number, us
from .names import what
from .table import codes, share

_RANKS = ("p50", "p90", "p99", "p999", "max")


class Section(NamedTuple):
    """A heading, the question that its plots answer, and what there is."""

    name: str
    title: str
    question: str
    plots: list[Plot]
    wide: bool = False


class Table(NamedTuple):
    """A head and rows."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


def html(report: Report, changes: Changes = UNCHANGED) -> str:
    """The whole page; what changed from an older run comes first, if there is one."""
    environment = Environment(
        loader=PackageLoader("ringback.compare.report", ""),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["figure"] = _figure
    return environment.get_template("page.html.jinja").render(
        report=report,
        changes=_changes(changes),
        beside=[*changes.remarks, *changes.omitted()],
        trust=list(_trust(report)),
        sections=[section for section in _sections(report) if section.plots],
        predictions=_predictions(report),
        searches=_searches(report),
        prices=list(prices.sections(report)),
        peers=sorted({(each.backend, each.difference) for each in report.peers}),
        cells=_cells([*report.results, *report.peers]),
        environment=_environment(report),
        plotly=Markup(get_plotlyjs()),  # noqa: S704 - a library's own text
    )


def _figure(plot: Plot) -> Markup:
    """The figure as JSON that may stand inside a script: nothing in it can end that."""
    text = plot.figure.to_json()
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)  # noqa: S704 - escaped above


class _Kind(NamedTuple):
    """A section as it is in every report."""

    name: str
    title: str
    question: str
    made: Callable[[Report], Iterator[Plot]]
    wide: bool = False


_KINDS = (
    _Kind(
        "claims",
        "Who differs from whom",
        "Which arm differs from the best of its cell, and how sure is that? An interval that crosses the line proves "
        "no difference; one inside the grey band proves that there is none to speak of.",
        plots.forest,
        wide=True,
    ),
    _Kind(
        "throughput",
        "Throughput",
        "How many calls a second, when callers push? Grey bars are other libraries, each with its own client; hatched bars are "
        "lower bounds, as there the load generator was the limit.",
        plots.throughput,
    ),
    _Kind(
        "response",
        "Response time",
        "How long do calls take? In an open loop, callers wait from when a call was due: a stall of the server counts for all "
        "calls that it kept waiting. In a closed loop it is a round trip with so many in flight, which no more calls come to while "
        "the server stands still.",
        plots_of_times.response,
    ),
    _Kind(
        "cost",
        "Cost",
        "What does a call cost the server, whatever the client is able to send?",
        plots.cost,
    ),
    _Kind(
        "styles",
        "Blocking or asynchronous?",
        "What does fire-and-callback give that request-reply does not, with as many calls in flight?",
        plots.styles,
    ),
    _Kind(
        "drift",
        "Drift",
        "Did the machine change under the measurement? Each point is a round; all arms of a round were measured in turns.",
        plots.drift,
        wide=True,
    ),
)


def _sections(report: Report) -> Iterator[Section]:
    for kind in _KINDS if report.results else ():
        yield Section(kind.name, kind.title, kind.question, list(kind.made(report)), kind.wide)


def _trust(report: Report) -> Iterator[tuple[str, str, bool]]:
    """What speaks for and against the run: a name, what it says, whether it is good."""
    for check in report.checks:
        yield check.name, check.says, check.ok
    results = report.results
    limits = sorted({each.limit for each in results})
    counted = ", ".join(f"{sum(each.limit == limit for each in results)} {limit}" for limit in limits)
    yield "limits", f"cells by what bound them: {counted or 'none'}", True
    limited = [each for each in results if client_limited(each)]
    if limited:
        yield "lower bounds", f"{len(limited)} cells say what the load generator can do, not the server", True
    if report.claims:
        seen = sorted(each.detectable for each in report.claims)
        yield (
            "sight",
            f"the smallest difference it could have found: {seen[0]:.0%} to {seen[-1]:.0%}, by cell",
            True,
        )
    for name, values in (
        ("not measured", report.skipped),
        ("failed", report.failures),
        ("left out", report.design.dropped),
    ):
        if values:
            yield name, "; ".join(values), name == "left out"
    if not report.complete:
        yield "complete", "the run was interrupted, or something failed", False


def _changes(changes: Changes) -> Table | None:
    if not changes.differences and not changes.untold:
        return None
    rows = []
    for each in changes.differences:
        shown = number if each.figure == "throughput" else us if each.figure == "server_cpu" else ms
        unit = {"throughput": "calls/s", "server_cpu": "us"}.get(each.figure, "ms")
        low, high = each.interval
        ratio = f"{each.ratio:.3f} ({low:.3f} .. {high:.3f})"
        rows.append(
            [what(each), f"{each.figure}, {unit}", shown(each.before), shown(each.after), ratio, each.outcome]
        )
    return Table("Before and after", ["cell", "figure", "before", "after", "after / before", "it is"], rows)


def _predictions(report: Report) -> Table | None:
    if not report.predictions:
        return None
    rows = []
    for each in report.predictions:
        shown, unit = (number, "calls/s") if each.figure == "throughput" else (ms, f"{each.figure}, ms")
        off = f"{each.error:+.0%}"
        rows.append(
            [
                what(each),
                each.model,
                each.inputs,
                unit,
                shown(each.predicted),
                shown(each.measured),
                off,
                each.judgement,
            ]
        )
    head = ["cell", "model", "from", "what", "predicted", "measured", "error", "it is"]
    return Table("Models beside measurements", head, rows)


def _searches(report: Report) -> Table | None:
    if not report.searches:
        return None
    rows = [
        [
            what(each),
            str(each.round),
            each.objective,
            number(each.passes),
            number(each.fails),
        ]
        for each in report.searches
    ]
    return Table(
        "The highest rates that keep the objective",
        ["cell", "round", "objective", "passes at calls/s", "fails at"],
        rows,
    )


def _cells(results: Iterable[Result]) -> Table:
    rows = []
    for each in results:
        ends = [each.style, each.arm, each.client]
        times = (
            ["overloaded", *["-"] * (len(_RANKS) - 1)]
            if each.overloaded
            else _times(told(each.latency, each.calls))
        )
        costs = [us(each.cpu.server_per_call), us(each.cpu.client_per_call)]
        bad = [codes(each) or number(each.errors), number(each.wrong), "void" if each.void else each.limit]
        rows.append([each.workload, *ends, _load(each), number(each.throughput), *times, *costs, *bad])
        for method, found in each.methods.items():
            times = _times(told(found, each.calls * share(each, method)))
            rows.append([f"{each.workload}: {method}", *ends, "", "", *times, *[""] * 5])
    head = [
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
    ]
    return Table("Every figure", [*head, "server us", "client us", "errors", "wrong", "limit"], rows)


def _load(result: Result) -> str:
    """Calls in flight, or the rate at which they come."""
    return str(result.concurrency) if result.rate is None else f"{number(result.rate.offered)}/s"


def _times(latency: Latency) -> list[str]:
    return [ms(getattr(latency, rank)) for rank in _RANKS]


def _environment(report: Report) -> list[tuple[str, str]]:
    shown = []
    for part in (report.environment, report.design):
        for name, value in msgspec.to_builtins(part).items():
            if value is not None and name != "explanations":
                text = (
                    ", ".join(f"{key} {each}" for key, each in value.items() if each)
                    if isinstance(value, dict)
                    else value
                )
                shown.append((name.replace("_", " "), text if isinstance(text, str) else json.dumps(text)))
    return shown
