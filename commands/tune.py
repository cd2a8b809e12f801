"""`ringback tune`: its options. The package `tune` does the work."""

from __future__ import annotations

from typing import Annotated, Any, TypedDict

import typer

from ..options.option import Option, options_of
from ..tune.options import LOAD, SEARCH, TuneOptions
from .extras import require_extra
from .options import takes, words_of


class TuneCommandOptions(TypedDict, total=False):
    """Options of the command that are not part of the run."""

    json: Annotated[
        str | None,
        Option("JSON file with all results; - is standard output", group=SEARCH, metavar="FILE"),
    ]


@takes("tune", TuneOptions, TuneCommandOptions, groups=(LOAD, SEARCH))
def tune(
    context: typer.Context,
    service: Annotated[
        str, typer.Argument(metavar="MODULE_OR_FILE:ATTRIBUTE", help="Service to tune")
    ],
    options: Any,
) -> None:
    """Find settings for a service: try backends, workers, limits and processes.

    The best settings are measured against the defaults.
    """
    require_extra("tune")
    from ..tune.command import tune as run

    asked = {name: options[name] for name in options_of(TuneOptions)} | {"service": service}
    raise typer.Exit(run(TuneOptions(**asked), options["json"], [service, *words_of(context)]))
