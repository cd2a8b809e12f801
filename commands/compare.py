"""`ringback compare` and `report`: the options of both, handed to the package `compare`."""

from __future__ import annotations

import re
import sys
from dataclasses import fields
from typing import Annotated

import typer

from .extras import require_extra

CsvFile = Annotated[
    str | None, typer.Option("--csv", metavar="FILE", help="write a line for each cell; - is standard output")
]
HtmlFile = Annotated[
    str | None, typer.Option("--html", metavar="FILE", help="write a page with plots, which needs no network")
]

_TIME = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|h|)")
_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}


def _seconds(text: str) -> float:
    found = _TIME.fullmatch(str(text))
    if found is None or (seconds := float(found[1]) * _UNITS[found[2]]) < 1:
        raise typer.BadParameter(f"{text!r} is no time of a second or more, such as 90, 15m or 2h")
    return seconds


# What --self-check takes: it measures what it needs, and nothing else.
_OF_SELF_CHECK = ("self_check", "seed", "json_file", "csv_file", "html_file")


def compare(
    context: typer.Context,
    backend: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="all that are installed, where not given")
    ] = None,
    arm: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=SETTINGS",
            help="a backend with options of ringback serve, instead of the backends or beside those that are named: "
            "'uv=asyncio --uvloop'",
        ),
    ] = None,
    transport: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="libzmq or native, at both ends; with both, each backend or arm over each: NAME-native",
        ),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(
            metavar="VENV",
            help="each of them once more, served by the ringback of another virtual environment: NAME-against",
        ),
    ] = None,
    client: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="the client styles [threading]"),
    ] = None,
    style: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="request-reply or fire-and-callback; both, where not given"),
    ] = None,
    workload: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="lone, echo, cpu, io, flood, echo-rate, payload-64k; also payload-1k, payload-1m, pooled, io-async, overload, "
            "mixed, stream; counter and read, each in all its ways, or one of them beside the plain one: counter-lock",
        ),
    ] = None,
    service: Annotated[
        str | None, typer.Option(metavar="FILE:ATTRIBUTE", help="your own service, called by a --scenario")
    ] = None,
    scenario: Annotated[
        str | None, typer.Option(metavar="FILE[:NAME]", help="a function of a number that yields calls")
    ] = None,
    concurrency: Annotated[
        int | None, typer.Option(min=1, help="calls in flight [64; of echo, cpu and payload-64k 8]")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="workers of each server [as many as calls in flight]")
    ] = None,
    rate: Annotated[
        float | None, typer.Option(metavar="CALLS/S", help="calls come at this rate whatever the server does")
    ] = None,
    duet: Annotated[
        bool,
        typer.Option(
            "--duet",
            help="all servers at once, so that nothing but their CPU time is compared, and that closely",
        ),
    ] = False,
    quick: Annotated[bool, typer.Option("--quick", help="within a minute: echo, cpu and io")] = False,
    thorough: Annotated[
        bool,
        typer.Option("--thorough", help="half an hour: all workloads, up to 30 rounds"),
    ] = False,
    rounds: Annotated[
        int | None,
        typer.Option(
            min=1, help="so many, whatever they take; with --time what can be measured so often in that time"
        ),
    ] = None,
    time: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            parser=_seconds,
            help="what the run may take, such as 90, 15m or 2h: as many rounds are measured as fit",
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, max=2**53 - 1, help="of the order and the arrivals, to repeat a run")
    ] = None,
    pin: Annotated[
        bool, typer.Option(help="give server and client processors of their own, where there are two")
    ] = True,
    peer: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="another library beside it: pyzmq, zerorpc, rpyc, grpc, grpc-aio, or all that are installed",
        ),
    ] = None,
    fail_if: Annotated[
        list[str] | None,
        typer.Option(metavar="CONDITION", help="exit status 3 if met, 4 if that cannot be told: 'p99>20ms'"),
    ] = None,
    json_file: Annotated[
        str | None,
        typer.Option("--json", metavar="FILE", help="write every figure as JSON; - is standard output"),
    ] = None,
    csv_file: CsvFile = None,
    html_file: HtmlFile = None,
    list_all: Annotated[
        bool, typer.Option("--list", help="the workloads, what they are compared by, and the other libraries")
    ] = False,
    self_check: Annotated[
        bool,
        typer.Option(
            "--self-check",
            help="measure whether what this command says can be trusted here; with --seed, --json, --csv, --html alone",
        ),
    ] = False,
) -> None:
    """Measure the backends head to head: each in its own process, called by the same clients in both styles."""
    given = locals()  # by the names of the parameters
    require_extra("compare")
    from ..compare.options import CompareOptions
    from ..compare.report.outputs import Outputs

    outputs = Outputs(json_file, csv_file, html_file)
    if self_check:
        from ..compare.statistics.checks import self_check as check_itself

        for option in context.command.params:
            source = context.get_parameter_source(option.name or "")
            if option.name not in _OF_SELF_CHECK and source is not None and source.name == "COMMANDLINE":
                text = f"--self-check measures what it needs by itself: {option.opts[0]} is not for it"
                raise typer.BadParameter(text)
        raise typer.Exit(check_itself(outputs, seed))
    if list_all:
        from ..compare.report.listing import listing

        for line in listing():
            typer.echo(line)
        return
    from ..compare.command import compare as run

    asked = {field.name: given[field.name] for field in fields(CompareOptions)}
    raise typer.Exit(run(CompareOptions(**asked), outputs, fail_if or [], sys.argv[2:]))


def report(
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="what compare --json wrote, or a folder of such files")
    ],
    newer: Annotated[
        str | None,
        typer.Argument(
            metavar="[NEWER]",
            help="later runs, to be compared with the first; three of each at least are needed to tell a difference",
        ),
    ] = None,
    fail_if: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CONDITION",
            help="exit status 3 if met, 4 if that cannot be told: 'p99>20ms', of two runs 'throughput<95%'",
        ),
    ] = None,
    csv_file: CsvFile = None,
    html_file: HtmlFile = None,
) -> None:
    """Show a comparison again, or what changed from some runs to later ones."""
    require_extra("compare")
    from ..compare.command import report as run
    from ..compare.report.outputs import Outputs

    older, shown = (None, file) if newer is None else (file, newer)
    raise typer.Exit(run(older, shown, Outputs(None, csv_file, html_file), fail_if or []))
