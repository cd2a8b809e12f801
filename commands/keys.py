"""`ringback keys new` and `ringback keys show`."""

from __future__ import annotations

from typing import Annotated

import typer

from ..terminal import say

keys = typer.Typer(
    help="Create and show CURVE keys. They encrypt connections and identify callers.",
    no_args_is_help=True,
)


@keys.command()
def new(
    directory: Annotated[str, typer.Argument(metavar="DIR", help="Directory to write them to")],
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Owner of the keys: a server or a caller")
    ],
) -> None:
    """Create a key pair; never overwrite a file.

    NAME.key is the public key. NAME.key_secret is the secret key, which must not be shared.
    """
    from ..security.keys import make

    public, secret = make(directory, name)
    say(f"ringback: {public} is the public key, {secret} the secret one")


@keys.command()
def show(
    file: Annotated[str, typer.Argument(metavar="FILE", help="File of a public or a secret key")],
) -> None:
    """Print the public key for --server-key."""
    from ..security.keys import public_part

    say(public_part(file).decode())
