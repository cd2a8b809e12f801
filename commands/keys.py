"""`ringback keys new` and `keys show`: pairs of keys are made, and shown."""

from __future__ import annotations

from typing import Annotated

import typer

from ..terminal import say

keys = typer.Typer(
    help="Make and show keys, for servers that encrypt and know who calls.", no_args_is_help=True
)


@keys.command()
def new(
    directory: Annotated[str, typer.Argument(metavar="DIR", help="where to write them")],
    name: Annotated[str, typer.Argument(metavar="NAME", help="whose they are: a server's, or a caller's")],
) -> None:
    """Make a pair of keys: NAME.key, which others may have, and NAME.key_secret, which nobody else may. Overwrites nothing."""
    from ..security.keys import make

    public, secret = make(directory, name)
    say(f"ringback: {public} is the public key, {secret} the secret one")


@keys.command()
def show(
    file: Annotated[str, typer.Argument(metavar="FILE", help="of a public key or a secret one")],
) -> None:
    """Print the public key, as --server-key takes it."""
    from ..security.keys import public_part

    say(public_part(file).decode())
