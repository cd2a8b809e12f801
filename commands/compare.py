"""`ringback compare` and `report`: the options of both, handed to the package `compare`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, TypedDict

import typer

from ..compare.options import LOAD, RUN, WHAT, CompareOptions
from ..options.option import Option, options_of
from .extras import require_extra
from .options import takes, words_of

OUTPUT = "Output"


class ReportOptions(TypedDict, total=False):
    """What is written beside the table, and what makes the command fail."""

    csv: Annotated[
        str | None, Option("Write a line for each cell; - is standard output", group=OUTPUT, metavar="FILE")
    ]
    html: Annotated[
        str | None, Option("Write a page with plots, which needs no network", group=OUTPUT, metavar="FILE")
    ]
    fail_if: Annotated[
        Sequence[str],
        Option(
            "Exit with 3 if met, with 4 if that cannot be told: 'p99>20ms'; of two runs 'throughput<95%'",
            (),
            group=OUTPUT,
            metavar="CONDITION",
        ),
    ]


class CompareCommandOptions(TypedDict, total=False):
    """Options of `compare` beside those of the run."""

    json: Annotated[
        str | None, Option("Write every figure as JSON; - is standard output", group=OUTPUT, metavar="FILE")
    ]
    list: Annotated[
        bool, Option("List the workloads, their metrics and the other libraries", False, group=OUTPUT)
    ]
    self_check: Annotated[
        bool,
        Option(
            "Measure whether this command can be trusted here; takes --seed and files alone", False, group=RUN
        ),
    ]


# What --self-check takes: it measures what it needs, and nothing else.
_OF_SELF_CHECK = ("self_check", "seed", "json", "csv", "html", "config")


@takes("compare", CompareOptions, CompareCommandOptions, ReportOptions, groups=(WHAT, LOAD, RUN, OUTPUT))
def compare(context: typer.Context, options: Any) -> None:
    """Measure the backends head to head: each in its own process, called by the same clients in both styles."""
    require_extra("compare")
    from ..compare.report.outputs import Outputs

    outputs = Outputs(options["json"], options["csv"], options["html"])
    if options["self_check"]:
        from ..compare.statistics.checks import self_check as check_itself

        for option in context.command.params:
            source = context.get_parameter_source(option.name or "")
            if option.name not in _OF_SELF_CHECK and source is not None and source.name == "COMMANDLINE":
                text = f"--self-check measures what it needs by itself: {option.opts[0]} is not for it"
                raise typer.BadParameter(text)
        raise typer.Exit(check_itself(outputs, options["seed"]))
    if options["list"]:
        from ..compare.report.listing import listing

        for line in listing():
            typer.echo(line)
        return
    from ..compare.command import compare as run

    asked = CompareOptions(**{name: options[name] for name in options_of(CompareOptions)})
    raise typer.Exit(run(asked, outputs, options["fail_if"], words_of(context)))


@takes("report", ReportOptions)
def report(
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="What compare --json wrote, or a folder of such files")
    ],
    options: ReportOptions,
    newer: Annotated[
        str | None,
        typer.Argument(
            metavar="[NEWER]",
            help="Later runs, to be compared with the first; a difference needs three of each",
        ),
    ] = None,
) -> None:
    """Show a comparison again, or what changed from some runs to later ones."""
    require_extra("compare")
    from ..compare.command import report as run
    from ..compare.report.outputs import Outputs

    older, shown = (None, file) if newer is None else (file, newer)
    raise typer.Exit(run(older, shown, Outputs(None, options["csv"], options["html"]), options["fail_if"]))
