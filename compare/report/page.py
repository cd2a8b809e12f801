"""A report as one HTML page that needs no network: what the run says, whether to trust it, and plots with the questions they answer."""

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
    """A heading, the question that it answers, and the answer: sentences, plots, a table; a `folded` table is shown on demand."""

    name: str
    title: str
    question: str
    notes: Iterable[str] = ()
    plots: Iterable[Plot] = ()
    table: Table = Table((), ())
    folded: bool = False


def html(report: Report, changes: ReportChanges = UNCHANGED) -> str:
    """The whole page; what changed from an older run comes first, if there is one."""
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
    """The figure as JSON that may stand inside a script: nothing in it can end that."""
    text = plot.figure.to_json()
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)  # noqa: S704 - escaped above


def _sections(report: Report, changes: ReportChanges) -> Iterator[Section]:
    yield Section(
        "changes",
        "Before and after",
        "What changed from the older runs to these? A ratio above 1 means that it is better now. Runs differ by themselves, so several of "
        "each are needed to claim anything.",
        [*changes.remarks, *changes.omitted()],
        table=rows.changed(changes),
    )
    yield Section(
        "verdict",
        "Verdict",
        "What to choose for which work, by how much, and how sure is that?",
        report.verdict.text or ["Nothing was compared."],
        plots.beside_best(report),
    )
    yield Section("mind", "Mind", "Under which conditions does that hold?", report.verdict.caveats)
    yield Section(
        "trust",
        "Can I trust this?",
        "Is any of it real, or is it noise, the load generator, or the machine?",
        table=rows.trusted(report),
    )
    yield Section(
        "claims",
        "Every claim",
        "What differs from what, and how sure is that? An interval that holds 1 proves no difference; "
        f'"equal" is one within {report.design.margin:.0%} of it.',
        table=rows.claimed(report),
        folded=True,
    )
    yield Section(
        "throughput",
        "Throughput",
        "How many calls a second, when callers push? Grey bars are other libraries, each with its own client; hatched bars are "
        "lower bounds, as there the load generator was the limit.",
        plots=plots.throughput(report),
    )
    yield Section(
        "cost",
        "Cost",
        "What does a call cost the server, whatever the client is able to send?",
        plots=plots.cost(report),
    )
    yield Section(
        "response",
        "Response time",
        "How long do callers wait? Where calls come at a rate, from when a call was due: a stall of the server counts for all calls that "
        "it kept waiting.",
        plots=plots.response(report),
    )
    yield Section(
        "models",
        "Models beside measurements",
        "Do the textbook formulas hold here? Of the predicted cell itself they know only how its calls come; the rest is named in the "
        "row, and comes from other cells of this run where these have it. Good is within 25 %; a formula that is further off is not "
        "valid here.",
        table=rows.predicted(report),
    )
    yield Section(
        "figures",
        "Every figure",
        "What was measured? All rounds together: throughput is calls answered rightly within the slices; CPU time is of the whole "
        "process, for each call.",
        table=rows.measured([*report.results, *report.peers]),
    )
    yield Section(
        "environment",
        "Environment",
        "On what does this depend, and how is it repeated?",
        table=rows.environment(report),
    )
