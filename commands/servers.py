"""`ringback servers`, `health` and `top`: which servers there are, whether one takes calls, and what it does."""

from __future__ import annotations

from typing import Annotated

import typer

from ..security.options import SecretKey, ServerKey
from ..terminal import printable, say
from .output import print_json


def servers(
    url: Annotated[
        str,
        typer.Argument(metavar="URL", help="the registry; with ?service=NAME, the servers of one service"),
    ],
    as_json: Annotated[
        bool, typer.Option("--json", help="print all that is known, as one JSON array")
    ] = False,
) -> None:
    """List the servers that have announced themselves in a registry, one a line."""
    from ..discovery.listing import announced, as_data, as_lines

    rows = announced(url)
    if as_json:
        print_json(as_data(rows))
    for line in [] if as_json else as_lines(rows):
        say(printable(line))
    if not rows:
        typer.echo("ringback: no server is announced there", err=True)


def health(
    endpoint: Annotated[str, typer.Argument(metavar="ENDPOINT")],
    timeout: Annotated[float, typer.Option(min=0, help="seconds that the answer may take")] = 2.0,
    server_key: ServerKey = None,
    secret_key: SecretKey = None,
) -> None:
    """Tell whether a server takes calls, for probes: exit status 0 if it does, 1 if there is none, it is silent, or shutting down."""
    from ..security.curve import ClientKeys
    from .health import run

    # (what is said in the plain way, without keys, is not parsed here, but in __main__.py)
    raise typer.Exit(run(endpoint, timeout, ClientKeys.asked_for(server_key, secret_key)))


def top(
    endpoint: Annotated[str, typer.Argument(metavar="ENDPOINT")],
    interval: Annotated[
        float, typer.Option(min=0.1, metavar="SECONDS", help="between two looks at the server")
    ] = 1.0,
    timeout: Annotated[float, typer.Option(min=0, help="seconds that a look may take")] = 30.0,
    server_key: ServerKey = None,
    secret_key: SecretKey = None,
) -> None:
    """Show what a server does: calls by method, what waits, what is taken. Until Ctrl-C; once where the output is no terminal."""
    from ..clients.scripts import run
    from .top import watch

    options = {"timeout": timeout, "server_key": server_key, "secret_key": secret_key}
    run("threading", [endpoint], lambda client: watch(client, interval), **options)
