"""The command line: the commands of `commands/`, in the order in which `--help` shows them."""

from __future__ import annotations

from collections.abc import Sequence

import typer

from .commands.access import rules
from .commands.arguments import MethodCommand
from .commands.call import call, describe
from .commands.compare import compare, report
from .commands.keys import keys
from .commands.output import run_command
from .commands.serve import serve
from .commands.servers import health, servers, top
from .commands.tune import tune

app = typer.Typer(
    name="ringback",
    help="One Python service over ZeroMQ, on the event loop you choose.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

app.command()(serve)
app.command(cls=MethodCommand, context_settings={"ignore_unknown_options": True})(call)  # -1 is an argument
app.command()(describe)
app.command()(servers)
app.command()(health)
app.command()(top)
app.command()(compare)
app.command()(report)
app.command()(tune)
app.add_typer(rules, name="access")
app.add_typer(keys, name="keys")


def main(args: Sequence[str] | None = None) -> int:
    """Run a command; the exit status is 0, 1 with one line on standard error, 2 for usage, or 130 for Ctrl-C."""
    return run_command(app, args)
