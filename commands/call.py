"""`ringback call` and `describe`: what a server answers, as JSON."""

from __future__ import annotations

from collections.abc import Generator
from typing import Annotated, Any

import typer

from ..security.options import SecretKey, ServerKey
from .arguments import NoWait, parse_arguments, parse_metadata
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
    metadata: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=JSON", help="what travels beside the arguments; may be given several times"
        ),
    ] = None,
    priority: Annotated[int, typer.Option(metavar="N", help="of the call; higher ones begin first")] = 0,
    key: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="the idempotency key, of a method that runs once for each"),
    ] = None,
    no_wait: NoWait = False,
    transport: Annotated[
        str | None, typer.Option(metavar="NAME", help="native or libzmq [$RINGBACK_TRANSPORT, or native]")
    ] = None,
    server_key: ServerKey = None,
    secret_key: SecretKey = None,
) -> None:
    """Call a method and print its result as one line of JSON; a stream is one line an item.

    A result that JSON cannot hold (NaN, infinity, a list as a key) is an error, with status 1.
    """
    from ..clients.scripts import Each, run

    printer = Printer()
    options = {"metadata": parse_metadata(metadata or []), "priority": priority, "idempotency_key": key}

    def work(connected: Any) -> Generator[Any, Any, None]:
        described = {entry["name"]: entry for entry in (yield connected.call("ringback.describe"))["methods"]}
        entry = described.get(method, {"parameters": [], "stream": False})
        args, kwargs = parse_arguments(arguments or [], entry["parameters"])
        view = connected.options(**options)
        if entry["stream"]:
            yield Each(view.stream(method, *args, **kwargs), print_json)
        elif fire:
            yield view.fire(method, *args, callback=printer, errback=lambda _: None, **kwargs)
        else:
            print_json((yield view.call(method, *args, **kwargs)))

    keys = {"server_key": server_key, "secret_key": secret_key}
    run(client, [endpoint], work, timeout=timeout, wait_for_ready=not no_wait, transport=transport, **keys)
    printer.check()


def describe(
    endpoint: Annotated[str, typer.Argument(metavar="ENDPOINT")],
    timeout: Annotated[float, typer.Option(min=0, help="seconds the call may take")] = 30.0,
    no_wait: NoWait = False,
    server_key: ServerKey = None,
    secret_key: SecretKey = None,
) -> None:
    """Print what a server serves: methods, signatures, documentation, flags."""
    from ..clients.scripts import run

    def work(connected: Any) -> Generator[Any, Any, None]:
        print_json((yield connected.describe()), indent=2)

    keys = {"server_key": server_key, "secret_key": secret_key}
    run("threading", [endpoint], work, timeout=timeout, wait_for_ready=not no_wait, **keys)
