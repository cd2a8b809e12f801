"""A report as one HTML page without network access: verdict, trust, and plots with the questions
that they answer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from jinja2 import Environment, PackageLoader
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from ..results import Report
from . import plots, rows
from .difference import UNCHANGED, ReportChanges
from .plots import Plot
from .rows import Table


class Section(NamedTuple):
    """A heading, the question it answers, and the answer: sentences, plots, a table. A `folded`
    table is shown on demand."""

    name: str
    title: str
    question: str
    notes: Iterable[str] = ()
    plots: Iterable[Plot] = ()
    table: Table = Table((), ())
    folded: bool = False


def html(report: Report, changes: ReportChanges = UNCHANGED) -> str:
    """The whole page. Changes from older runs, if any, come first."""
    environment = Environment(
        loader=PackageLoader("ringback.compare.report", ""),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["figure"] = _figure
    sections = [each._replace(plots=list(each.plots)) for each in _sections(report, changes)]
    return environment.get_template("page.html.jinja").render(
        report=report,
        sections=[each for each in sections if each.notes or each.plots or each.table.rows],
        plotly=Markup(get_plotlyjs()),  # noqa: S704 - a library's own text
    )


def _figure(plot: Plot) -> Markup:
    """The figure as JSON, escaped so that it cannot end the script element around it."""
    text = plot.figure.to_json()
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)  # noqa: S704 - escaped above


def _sections(report: Report, changes: ReportChanges) -> Iterator[Section]:
    yield Section(
        "changes",
        "Before and after",
        "What changed from the older runs to these? A ratio above 1 means that it is better now. "
        "Runs vary, so a claim needs several "
        "of each.",
        [*changes.remarks, *changes.omitted()],
        table=rows.changed(changes),
    )
    yield Section(
        "verdict",
        "Verdict",
        "Which arm is best for which work, by how much, and how sure is that?",
        report.verdict.text or ["Nothing was compared."],
        plots.beside_best(report),
    )
    yield Section(
        "mind", "Caveats", "Under which conditions does that hold?", report.verdict.caveats
    )
    yield Section(
        "trust",
        "Can I trust this?",
        "Are the differences real, or effects of noise, the load generator or the machine?",
        table=rows.trusted(report),
    )
    yield Section(
        "claims",
        "Every claim",
        "Which cells differ, and how sure is that? An interval that contains 1 proves no "
        "difference; "
        f"one within {report.design.margin:.0%} of 1 proves that they are equal.",
        table=rows.claimed(report),
        folded=True,
    )
    yield Section(
        "throughput",
        "Throughput",
        "How many calls a second can callers make? Grey bars are other libraries, each with its "
        "own client. Hatched bars are lower "
        "bounds, as the load generator was the limit.",
        plots=plots.throughput(report),
    )
    yield Section(
        "cost",
        "Cost",
        "How much CPU time does a call cost the server, however fast the client is?",
        plots=plots.cost(report),
    )
    yield Section(
        "response",
        "Response time",
        "How long do callers wait? In an open loop, from when a call was due: a stall of the "
        "server counts for all calls that it "
        "delayed.",
        plots=plots.response(report),
    )
    yield Section(
        "models",
        "Models and measurements",
        "Do the textbook formulas hold here? From the predicted cell itself they use only its "
        "load. Their other inputs are in the row, "
        "and come from other cells of this run if possible. A prediction is good within 25 %; "
        "otherwise the formula is not valid here.",
        table=rows.predicted(report),
    )
    yield Section(
        "figures",
        "Every figure",
        "What was measured, over all rounds? Throughput counts correct replies within the slices; "
        "CPU time is that of the whole "
        "process, per call.",
        table=rows.measured([*report.results, *report.peers]),
    )
    yield Section(
        "environment",
        "Environment",
        "What do the figures depend on, and how can the run be repeated?",
        table=rows.environment(report),
    )
