"""`ringback call` and `describe`: what a server answers, as JSON."""

from __future__ import annotations

from collections.abc import Generator
from typing import Annotated, Any

import typer

from ..security.options import SecretKey, ServerKey
from .arguments import parse_arguments
from .output import Printer, print_json


def call(
    endpoint: Annotated[str, typer.Argument(metavar="ENDPOINT")],
    method: Annotated[str, typer.Argument(metavar="METHOD")],
    arguments: Annotated[
        list[str] | None,
        typer.Argument(metavar="ARG|NAME=VALUE", help="JSON, or a string where it is not JSON"),
    ] = None,
    timeout: Annotated[
        float, typer.Option(min=0, help="seconds the call may take; for a stream, between items")
    ] = 30.0,
    client: Annotated[
        str,
        typer.Option(
            help="the client style: threading, gevent, asyncio, twisted, or one that a package brings"
        ),
    ] = "threading",
    fire: Annotated[bool, typer.Option("--fire", help="fire, and print what the callback gets")] = False,
    server_key: ServerKey = None,
    secret_key: SecretKey = None,
) -> None:
    """Call a method and print its result as one line of JSON; a stream is one line an item.

    A result that JSON cannot hold (NaN, infinity, a list as a key) is an error, with status 1.
    """
    from ..clients.scripts import Each, run

    printer = Printer()

    def work(connected: Any) -> Generator[Any, Any, None]:
        described = {entry["name"]: entry for entry in (yield connected.call("ringback.describe"))["methods"]}
        entry = described.get(method, {"parameters": [], "stream": False})
        args, kwargs = parse_arguments(arguments or [], entry["parameters"])
        if entry["stream"]:
            yield Each(connected.stream(method, *args, **kwargs), print_json)
        elif fire:
            yield connected.fire(method, *args, callback=printer, errback=lambda _: None, **kwargs)
        else:
            print_json((yield connected.call(method, *args, **kwargs)))

    run(client, [endpoint], work, timeout=timeout, server_key=server_key, secret_key=secret_key)
    printer.check()


def describe(
    endpoint: Annotated[str, typer.Argument(metavar="ENDPOINT")],
    timeout: Annotated[float, typer.Option(min=0, help="seconds the call may take")] = 30.0,
    server_key: ServerKey = None,
    secret_key: SecretKey = None,
) -> None:
    """Print what a server serves: methods, signatures, documentation, flags."""
    from ..clients.scripts import run

    def work(connected: Any) -> Generator[Any, Any, None]:
        print_json((yield connected.describe()), indent=2)

    run("threading", [endpoint], work, timeout=timeout, server_key=server_key, secret_key=secret_key)
