"""`ringback compare` and `ringback report`: their options. The package `compare` does the work."""

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
    """Files to write beside the table, and the condition that fails the command."""

    csv: Annotated[
        str | None,
        Option(
            "CSV file with one row per result; - is standard output", group=OUTPUT, metavar="FILE"
        ),
    ]
    html: Annotated[
        str | None, Option("HTML page with plots, readable offline", group=OUTPUT, metavar="FILE")
    ]
    fail_if: Annotated[
        Sequence[str],
        Option(
            "Exit 3 if met, 4 if undecided: 'p99>20ms'; for two runs: 'throughput<95%'",
            (),
            group=OUTPUT,
            metavar="CONDITION",
        ),
    ]


class CompareCommandOptions(TypedDict, total=False):
    """Options of `compare` that are not part of the run."""

    json: Annotated[
        str | None,
        Option("JSON file with all figures; - is standard output", group=OUTPUT, metavar="FILE"),
    ]
    list: Annotated[
        bool,
        Option(
            "List the workloads, their metrics and the other libraries, and exit",
            False,
            group=OUTPUT,
        ),
    ]
    self_check: Annotated[
        bool,
        Option(
            "Check that this machine measures reliably; takes only --seed and files",
            False,
            group=RUN,
        ),
    ]


# The options that --self-check accepts.
_OF_SELF_CHECK = ("self_check", "seed", "json", "csv", "html", "config")


@takes(
    "compare",
    CompareOptions,
    CompareCommandOptions,
    ReportOptions,
    groups=(WHAT, LOAD, RUN, OUTPUT),
)
def compare(context: typer.Context, options: Any) -> None:
    """Compare the backends: each runs in its own process, called by the same clients in both
    styles."""
    require_extra("compare")
    from ..compare.report.outputs import Outputs

    outputs = Outputs(options["json"], options["csv"], options["html"])
    if options["self_check"]:
        from ..compare.statistics.checks import self_check as check_itself

        for option in context.command.params:
            source = context.get_parameter_source(option.name or "")
            if (
                option.name not in _OF_SELF_CHECK
                and source is not None
                and source.name == "COMMANDLINE"
            ):
                text = f"--self-check does not take {option.opts[0]}"
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
        str,
        typer.Argument(metavar="FILE", help="File of compare --json, or a directory of such files"),
    ],
    options: ReportOptions,
    newer: Annotated[
        str | None,
        typer.Argument(
            metavar="[NEWER]",
            help="Later runs to compare with FILE; a difference needs at least three runs of each",
        ),
    ] = None,
) -> None:
    """Show a comparison again, or the differences between earlier and later runs."""
    require_extra("compare")
    from ..compare.command import report as run
    from ..compare.report.outputs import Outputs

    older, shown = (None, file) if newer is None else (file, newer)
    raise typer.Exit(
        run(older, shown, Outputs(None, options["csv"], options["html"]), options["fail_if"])
    )
