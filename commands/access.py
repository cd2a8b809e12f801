"""`ringback access check`: prints whether a file's access rules let a user call a method."""

from __future__ import annotations

from typing import Annotated

import typer

from ..terminal import say

rules = typer.Typer(help="Check access rules.", no_args_is_help=True, rich_markup_mode=None)


@rules.callback()
def _rules() -> None:
    """Make `check` a subcommand although there is no other."""


@rules.command()
def check(
    file: Annotated[str, typer.Argument(metavar="FILE", help="TOML file with access rules")],
    user: Annotated[str, typer.Argument(metavar="USER", help="Name of a key; or anonymous")],
    method: Annotated[str, typer.Argument(metavar="METHOD", help="Name of the method")],
) -> None:
    """Check whether a user may call a method.

    Prints the rule that allows it. The exit status is 0 if the call is allowed, 1 if not.
    """
    from pathlib import Path

    from ..server.admission.rules import ANONYMOUS, read

    rule = read(Path(file)).may("" if user == ANONYMOUS else user, method)
    say(f"{user} may {'not ' if rule is None else ''}call {method}: {rule or 'no rule allows it'}")
    raise typer.Exit(1 if rule is None else 0)
