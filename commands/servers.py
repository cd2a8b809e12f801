"""`ringback servers`, `health` and `top`: which servers there are, whether one takes calls, and what it does."""

from __future__ import annotations

from typing import Annotated, Any, TypedDict

import typer

from ..options.option import Option
from ..terminal import printable, say
from .calling import CALL, CONNECTION, KeyOptions, TimeoutOptions, connection
from .options import takes
from .output import USAGE, exiting, print_json


class ServersOptions(TypedDict, total=False):
    """How they are printed."""

    json: Annotated[bool, Option("Print all that is known, as one JSON array", False)]


@takes("servers", ServersOptions)
def servers(
    url: Annotated[
        str,
        typer.Argument(metavar="URL", help="The registry; with ?service=NAME, the servers of one service"),
    ],
    options: ServersOptions,
) -> None:
    """List the servers that have announced themselves in a registry, one a line."""
    from ..discovery.listing import announced, as_data, as_lines

    rows = announced(url)
    if options["json"]:
        print_json(as_data(rows))
    for line in [] if options["json"] else as_lines(rows):
        say(printable(line))
    if not rows:
        typer.echo("ringback: no server is announced there", err=True)


class HealthOptions(TypedDict, total=False):
    """How long a probe waits."""

    timeout: Annotated[
        float,
        Option("Time for the answer", 2.0, group=CALL, metavar="SECONDS", unit="seconds", at_least=0),
    ]


@takes("health", HealthOptions, KeyOptions, groups=(CALL, CONNECTION))
def health(
    endpoint: Annotated[str, typer.Argument(metavar="ENDPOINT", help="The server, as tcp://HOST:PORT")],
    options: Any,
) -> None:
    """Tell whether a server takes calls, for probes: exit status 0 if it does, 1 if there is none, it is silent, or shutting down."""
    from ..security.curve import ClientKeys
    from .health import run

    # (what is said in the plain way, without keys, is not parsed here, but in __main__.py)
    with exiting(USAGE):
        keys = ClientKeys.asked_for(options["server_key"], options["secret_key"])
    raise typer.Exit(run(endpoint, options["timeout"], keys))


class TopOptions(TypedDict, total=False):
    """How often it looks."""

    interval: Annotated[
        float,
        Option(
            "Time between two looks at the server",
            1.0,
            group=CALL,
            metavar="SECONDS",
            unit="seconds",
            at_least=0.1,
        ),
    ]


@takes("top", TopOptions, TimeoutOptions, KeyOptions, groups=(CALL, CONNECTION))
def top(
    endpoint: Annotated[
        list[str],
        typer.Argument(metavar="ENDPOINT...", help="Servers, as tcp://HOST:PORT, or their registry"),
    ],
    options: Any,
) -> None:
    """Show what servers do: calls by method, what waits, what is taken.

    On a terminal until q or Ctrl-C; s sorts by another column, p pauses. Once where the output is no terminal.
    """
    from ..clients.scripts import run
    from .top.watching import watch

    run("threading", endpoint, lambda client: watch(client, options["interval"]), **connection(options))
