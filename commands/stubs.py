"""`ringback stubs`: writes a typed module for a service, for `client.typed`."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Annotated, Any, TypedDict

import typer

from .. import clients
from ..errors import UsageError
from ..options.option import Option
from ..terminal import printable, say, warn
from .arguments import load_service
from .calling import CONNECTION, KeyOptions, TimeoutOptions, WaitOptions, connection
from .options import takes
from .output import FAILED, USAGE, exiting

MODULE = "Module"


class StubsOptions(TypedDict, total=False):
    """Form and file of the module."""

    client: Annotated[
        str,
        Option("Client style", "threading", group=MODULE, metavar="NAME", choices=clients.names),
    ]
    output: Annotated[
        str | None,
        Option("File to write", group=MODULE, metavar="FILE", default_text="standard output"),
    ]


@takes("stubs", StubsOptions, TimeoutOptions, WaitOptions, KeyOptions, groups=(MODULE, CONNECTION))
def stubs(
    source: Annotated[
        str,
        typer.Argument(
            metavar="TARGET|ENDPOINT",
            help="Service, as FILE.py:ATTRIBUTE or MODULE:ATTRIBUTE, or its server, as tcp://HOST:PORT",
        ),
    ],
    options: Any,
) -> None:
    """Write a typed module for a service: Protocols for client.typed, and its data classes.

    With it, type checkers check each method, argument and result of a client.
    """
    from ..stubs.description import read
    from ..stubs.module import module_of

    with exiting(USAGE):
        client = clients.load(options["client"])
    if "://" in source:
        described = _asked(source, options)
    else:
        with exiting(USAGE):
            service = load_service(source)
            service.prepare()
        described = service.describe()
    with exiting(FAILED):
        try:
            module = module_of(read(described), options["client"], client)
        except (RecursionError, ValueError) as error:  # schemas nested too deeply, or huge numbers
            raise UsageError(f"the description of the service cannot be written: {error}") from None
    if module.left_out:
        warn(
            printable(
                f"left out, because a Protocol cannot declare them: {', '.join(module.left_out)}"
            )
        )
    if options["output"] is None:
        say(module.text.rstrip("\n"))
        return
    with exiting(FAILED):
        try:
            Path(options["output"]).write_text(module.text, encoding="utf-8")
        except OSError as error:
            raise UsageError(f"cannot write {options['output']}: {error.strerror}") from None


def _asked(endpoint: str, options: Any) -> Any:
    """The description that a server returns of its service."""
    from ..clients.scripts import run

    told: list[Any] = []

    def work(connected: Any) -> Generator[Any, Any, None]:
        told.append((yield connected.describe()))

    run("threading", [endpoint], work, **connection(options))
    return told[0]
