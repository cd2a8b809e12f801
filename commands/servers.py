"""`ringback servers`, `ringback health` and `ringback top`."""

from __future__ import annotations

from typing import Annotated, Any, TypedDict

import typer

from ..options.option import Option
from ..terminal import printable, say
from .calling import CALL, CONNECTION, KeyOptions, TimeoutOptions, connection
from .options import takes
from .output import USAGE, exiting, print_json


class ServersOptions(TypedDict, total=False):
    """Output format."""

    json: Annotated[bool, Option("Print all fields as one JSON array", False)]


@takes("servers", ServersOptions)
def servers(
    url: Annotated[
        str,
        typer.Argument(
            metavar="URL", help="Registry; with ?service=NAME, the servers of one service"
        ),
    ],
    options: ServersOptions,
) -> None:
    """List the servers that are registered in a registry, one per line."""
    from ..discovery.listing import announced, as_data, as_lines

    rows = announced(url)
    if options["json"]:
        print_json(as_data(rows))
    for line in [] if options["json"] else as_lines(rows):
        say(printable(line))
    if not rows:
        typer.echo("ringback: no server is announced there", err=True)


class HealthOptions(TypedDict, total=False):
    """Timeout of a probe."""

    timeout: Annotated[
        float,
        Option(
            "Timeout of the check", 2.0, group=CALL, metavar="SECONDS", unit="seconds", at_least=0
        ),
    ]


@takes("health", HealthOptions, KeyOptions, groups=(CALL, CONNECTION))
def health(
    endpoint: Annotated[str, typer.Argument(metavar="ENDPOINT", help="Server, as tcp://HOST:PORT")],
    options: Any,
) -> None:
    """Check that a server accepts calls, for probes.

    The exit status is 0 if it does, 1 if no server answers in time or it is shutting down.
    """
    from ..security.curve import ClientKeys
    from .health import run

    # (__main__.py handles simple command lines without keys; see `asked` in health.py)
    with exiting(USAGE):
        keys = ClientKeys.asked_for(options["server_key"], options["secret_key"])
    raise typer.Exit(run(endpoint, options["timeout"], keys))


class TopOptions(TypedDict, total=False):
    """Polling interval."""

    interval: Annotated[
        float,
        Option(
            "Time between two polls of the servers",
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
        typer.Argument(
            metavar="ENDPOINT...", help="Servers, as tcp://HOST:PORT, or their registry"
        ),
    ],
    options: Any,
) -> None:
    """Show live statistics of servers: calls by method, queued calls, and resources in use.

    On a terminal it runs until q or Ctrl-C; s sorts by another column, p pauses. Otherwise it
    prints once.
    """
    from ..clients.scripts import run
    from .top.watching import watch

    run(
        "threading",
        endpoint,
        lambda client: watch(client, options["interval"]),
        **connection(options),
    )
