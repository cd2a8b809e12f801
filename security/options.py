"""The options of commands that call a server with CURVE."""

from __future__ import annotations

from typing import Annotated

import typer

ServerKey = Annotated[
    str | None,
    typer.Option(metavar="KEY|FILE", help="the public key of a server with CURVE, or the file that has it"),
]
SecretKey = Annotated[
    str | None,
    typer.Option(
        metavar="FILE", help="your own key, as keys new makes it [a new one, for servers that let in any]"
    ),
]
