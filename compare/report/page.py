"""A report as one HTML page that needs no network: what the run says, whether to trust it, and plots with the questions they answer."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from math import log
from typing import NamedTuple

import msgspec
from jinja2 import Environment, PackageLoader
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from ..results import Claim, Latency, Report, Result
from ..statistics.analysis import client_limited
from ..statistics.figures import FIGURES, told
from . import plots, prices
from .difference import UNCHANGED, Changes
from .names import what
from .plots import Plot
from .table import codes, share
from .verdict import answers, of_best

_RANKS = ("p50", "p90", "p99", "p999", "max")

# Of the strips, the ratios at their ends at least, and at most.
_NARROW, _WIDE = (0.9, 1.05), (0.4, 2.5)


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


class Strip(NamedTuple):
    """An arm beside the best of its cell: where its interval begins and ends, and its ratio lies, as percentages of the strip."""

    arm: str
    colour: str
    low: float
    high: float
    ratio: float
    text: str


class Answer(NamedTuple):
    """What to choose in one cell: its name, the sentence, and a strip for each arm, the best first. At `one` arms are as good as it."""

    name: str
    sentence: str
    one: float
    strips: list[Strip]


def html(report: Report, changes: Changes = UNCHANGED) -> str:
    """The whole page; what changed from an older run comes first, if there is one."""
    environment = Environment(
        loader=PackageLoader("ringback.compare.report", ""),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["figure"] = _figure
    found = _answers(report) if report.verdict.trusted else []
    answered = {f"{each.name}: {each.sentence}" for each in found}
    return environment.get_template("page.html.jinja").render(
        report=report,
        changes=_changes(changes),
        beside=[*changes.remarks, *changes.omitted()],
        answers=found,
        rest=[each for each in report.verdict.text if each not in answered],
        claims=_claims(report),
        trust=list(_trust(report)),
        sections=[section for section in _sections(report) if section.plots],
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


def _answers(report: Report) -> list[Answer]:
    """All strips have one scale, on which a half is as far from one as the double is."""
    cells = answers(report)
    beside = [each.turned() for claims, _ in cells.values() for each in of_best(claims)]
    low = max(_WIDE[0], min([_NARROW[0], *(each.low for each in beside)]))
    high = min(_WIDE[1], max([_NARROW[1], *(each.high for each in beside)]))

    def place(ratio: float) -> float:
        return round(100 * log(min(high, max(low, ratio)) / low) / log(high / low), 1)

    def strip(claim: Claim) -> Strip:
        text = f"{claim.ratio:.2f} ({claim.low:.2f} .. {claim.high:.2f}) {claim.said}"
        return Strip(
            claim.arm, plots.looks_of(claim)[0], place(claim.low), place(claim.high), place(claim.ratio), text
        )

    found = []
    for name, (claims, sentence) in cells.items():
        first, one = claims[0], place(1.0)
        best = Strip(first.arm, plots.looks_of(first)[0], one, one, one, "the best")
        others = [strip(each.turned()) for each in of_best(claims)]
        found.append(Answer(name, sentence, one, [best, *others]))
    return found


class _Kind(NamedTuple):
    """A section as it is in every report."""

    name: str
    title: str
    question: str
    made: Callable[[Report], Iterator[Plot]]
    wide: bool = False


_KINDS = (
    _Kind(
        "throughput",
        "Throughput",
        "How many calls a second, when callers push? Grey bars are other libraries, each with its own client; hatched bars are "
        "lower bounds, as there the load generator was the limit.",
        plots.throughput,
    ),
    _Kind(
        "cost",
        "Cost",
        "What does a call cost the server, whatever the client is able to send?",
        plots.cost,
    ),
    _Kind(
        "response",
        "Response time",
        "How long do callers wait? Where calls come at a rate, from when a call was due: a stall of the server counts for all calls that "
        "it kept waiting.",
        plots.response,
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


def _claims(report: Report) -> Table | None:
    """Every claim, the arms first."""
    if not report.claims:
        return None
    rows = []
    for each in report.claims:
        other = (
            f"{each.against_workload}, {each.against_style}: {each.against}"
            if not each.of_arms
            else each.against
        )
        ratio, spread = f"{each.ratio:.3f}", f"{each.low:.3f} .. {each.high:.3f}"
        rows.append(
            [
                what(each),
                FIGURES[each.figure].words,
                other,
                ratio,
                spread,
                each.said,
                f"{each.detectable:.1%}",
            ]
        )
    head = ["what", "figure", "beside", "ratio", "interval", "it is", "could have seen"]
    return Table("Every claim", head, rows)


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
        figure = FIGURES[each.figure]
        spread = "" if each.interval is None else f" ({each.interval[0]:.3f} .. {each.interval[1]:.3f})"
        values = figure.text(each.before), figure.text(each.after)
        rows.append([what(each), figure.title, *values, f"{each.ratio:.3f}{spread}", each.outcome])
    return Table(
        "Before and after", ["cell", "figure", "before", "after", "after is better by", "it is"], rows
    )


def _searches(report: Report) -> Table | None:
    if not report.searches:
        return None
    calls = FIGURES["throughput"].text
    rows = [
        [what(each), str(each.round), each.objective, calls(each.passes), calls(each.fails)]
        for each in report.searches
    ]
    head = ["cell", "round", "objective", "passes at calls/s", "fails at"]
    return Table("The highest rates that keep the objective", head, rows)


def _cells(results: Iterable[Result]) -> Table:
    rows = []
    for each in results:
        ends = [each.style, each.arm, each.client]
        overloaded = ["overloaded", *["-"] * (len(_RANKS) - 1)]
        times = overloaded if each.overloaded else _times(told(each.latency, each.calls))
        costs = [
            FIGURES["server_cpu"].text(each.cpu.server_per_call),
            FIGURES["client_cpu"].text(each.cpu.client_per_call),
        ]
        bad = [codes(each.errors_by_code) or f"{each.errors:,}", f"{each.wrong:,}"]
        load = str(each.concurrency) if each.rate is None else f"{each.rate.offered:,.0f}/s"
        calls = FIGURES["throughput"].text(each.throughput)
        limit = "void" if each.void else each.limit
        rows.append([each.workload, *ends, load, calls, *times, *costs, *bad, limit])
        for method, found in each.methods.items():
            times = _times(told(found, each.calls * share(each, method)))
            rows.append([f"{each.workload}: {method}", *ends, "", "", *times, *[""] * 5])
    head = ["workload", "style", "arm", "client", "load", "calls/s", "p50 ms", "p90", "p99", "p99.9", "max"]
    return Table("Every figure", [*head, "server us", "client us", "errors", "wrong", "limit"], rows)


def _times(latency: Latency) -> list[str]:
    return [FIGURES[rank].text(getattr(latency, rank)) for rank in _RANKS]


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
