"""`ringback access check`: what the rules in a file say of a user and a method."""

from __future__ import annotations

from typing import Annotated

import typer

from ..terminal import say

rules = typer.Typer(help="The rules that say who may call what.", no_args_is_help=True, rich_markup_mode=None)


@rules.callback()
def _rules() -> None:
    """So that `check` is a command of its own, though there is no other."""


@rules.command()
def check(
    file: Annotated[str, typer.Argument(metavar="FILE", help="as of ringback serve --access")],
    user: Annotated[str, typer.Argument(metavar="USER", help="the name of a key; anonymous: who has none")],
    method: Annotated[str, typer.Argument(metavar="METHOD")],
) -> None:
    """Tell whether a user may call a method, and by which rule: exit status 0 if so, 1 if not."""
    from pathlib import Path

    from ..server.admission.rules import ANONYMOUS, read

    rule = read(Path(file)).may("" if user == ANONYMOUS else user, method)
    say(f"{user} may {'not ' if rule is None else ''}call {method}: {rule or 'no rule says so'}")
    raise typer.Exit(1 if rule is None else 0)
