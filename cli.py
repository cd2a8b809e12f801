"""The command line: the commands of `commands/`, in the order in which `--help` shows them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from .commands.access import rules
from .commands.call import call, describe
from .commands.compare import compare, report
from .commands.keys import keys
from .commands.options import Command, MethodCommand
from .commands.output import run_command
from .commands.serve import serve
from .commands.servers import health, servers, top
from .commands.stubs import stubs
from .commands.tune import tune
from .commands.version import print_version


def ringback(
    version: Annotated[
        bool,
        typer.Option(
            "--version", is_eager=True, callback=print_version, help="Print the versions and exit."
        ),
    ] = False,
) -> None:
    """RPC for Python over ZeroMQ, on the event loop you choose."""


app = typer.Typer(
    name="ringback",
    callback=ringback,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.command(cls=Command, short_help="Serve a service.")(serve)
app.command(
    cls=MethodCommand,
    short_help="Call a method and print its result.",
    context_settings={"ignore_unknown_options": True},  # -1 is an argument
)(call)
app.command(cls=Command, short_help="Print the methods of a server.")(describe)
app.command(cls=Command, short_help="Write a typed module for a service.")(stubs)
app.command(cls=Command, short_help="List the servers of a registry.")(servers)
app.command(cls=Command, short_help="Check that a server accepts calls.")(health)
app.command(cls=Command, short_help="Show live statistics of servers.")(top)
app.command(cls=Command, short_help="Benchmark event loops and call styles.")(compare)
app.command(cls=Command, short_help="Show a comparison again, or compare runs.")(report)
app.command(cls=Command, short_help="Find settings for a service.")(tune)
app.add_typer(rules, name="access")
app.add_typer(keys, name="keys")


def main(args: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status.

    0: success. 1: failure, with one line on standard error. 2: usage error. 3: the server did not
    start, or a condition of --fail-if is met. 4: such a condition is undecided, or the self-check
    failed. 130: Ctrl-C.
    """
    return run_command(app, args)
