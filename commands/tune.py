"""`ringback tune`: its options, handed to the package `tune`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from .extras import require_extra


def tune(
    service: Annotated[str, typer.Argument(metavar="MODULE_OR_FILE:ATTRIBUTE", help="where the service is")],
    scenario: Annotated[
        str,
        typer.Option(metavar="FILE[:NAME]", help="a function of a number that yields calls, as for compare"),
    ],
    slo: Annotated[
        str | None,
        typer.Option(metavar="OBJECTIVE", help="what the settings have to keep, such as p99=50ms"),
    ] = None,
    backend: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="all that are installed, where not given")
    ] = None,
    max_processes: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="the most to try [one for each processor]")
    ] = None,
    style: Annotated[
        str, typer.Option(metavar="NAME", help="request-reply or fire-and-callback")
    ] = "request-reply",
    concurrency: Annotated[int, typer.Option(min=1, help="calls in flight")] = 64,
    connections: Annotated[
        int, typer.Option(min=1, help="that the callers share; one talks to one process")
    ] = 8,
    trials: Annotated[
        int | None, typer.Option(min=1, help="the most settings to try; without --time, so many")
    ] = None,
    time: Annotated[
        float | None, typer.Option(min=40, help="seconds that the run may take [180, without --trials]")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, max=2**32 - 1, help="of what is tried in which order")
    ] = None,
    json_file: Annotated[
        str | None,
        typer.Option("--json", metavar="FILE", help="write everything as JSON; - is standard output"),
    ] = None,
) -> None:
    """Find settings for a service: try backends, workers, limits and processes, and measure the best against the defaults."""
    require_extra("tune")
    from ..tune.command import tune as run
    from ..tune.request import TuneOptions

    options = TuneOptions(
        service=service,
        scenario=scenario,
        slo=slo,
        backends=backend or [],
        max_processes=max_processes,
        style=style,
        concurrency=concurrency,
        connections=connections,
        trials=trials,
        time=time,
        seed=seed,
    )
    raise typer.Exit(run(options, json_file, sys.argv[2:]))
