"""`ringback call` and `ringback describe`."""

from __future__ import annotations

from collections.abc import Generator
from typing import Annotated, Any, TypedDict

import typer

from ..options.option import Option
from ..terminal import printable, say
from .arguments import parse_arguments
from .calling import (
    CALL,
    CONNECTION,
    CallOptions,
    KeyOptions,
    StyleOptions,
    TimeoutOptions,
    WaitOptions,
    connection,
)
from .options import takes
from .output import Printer, print_json


@takes(
    "call",
    CallOptions,
    TimeoutOptions,
    StyleOptions,
    WaitOptions,
    KeyOptions,
    groups=(CALL, CONNECTION),
)
def call(
    endpoint: Annotated[str, typer.Argument(metavar="ENDPOINT", help="Server, as tcp://HOST:PORT")],
    method: Annotated[str, typer.Argument(metavar="METHOD", help="Name of the method")],
    options: Any,
    arguments: Annotated[
        list[str] | None,
        typer.Argument(metavar="ARG|NAME=VALUE", help="JSON value, or a string if it is not JSON"),
    ] = None,
) -> None:
    """Call a method and print its result as one line of JSON, or one line per item of a stream.

    A result that JSON cannot hold (NaN, infinity, a list as a key) is an error with status 1.
    """
    from ..clients.scripts import Each, run

    printer = Printer()
    given = {
        "metadata": options["metadata"] or {},
        "priority": options["priority"],
        "idempotency_key": options["key"],
    }

    def work(connected: Any) -> Generator[Any, Any, None]:
        described = {
            entry["name"]: entry for entry in (yield connected.call("ringback.describe"))["methods"]
        }
        entry = described.get(method, {"parameters": [], "stream": False})
        args, kwargs = parse_arguments(arguments or [], entry["parameters"])
        view = connected.options(**given)
        if entry["stream"]:
            yield Each(view.stream(method, *args, **kwargs), print_json)
        elif options["fire"]:
            yield view.fire(method, *args, callback=printer, errback=lambda _: None, **kwargs)
        else:
            print_json((yield view.call(method, *args, **kwargs)))

    run(options["client"], [endpoint], work, **connection(options))
    printer.check()


class DescribeOptions(TypedDict, total=False):
    """Output format."""

    json: Annotated[bool, Option("Print the full description as JSON", False, group=CALL)]


@takes(
    "describe", DescribeOptions, TimeoutOptions, WaitOptions, KeyOptions, groups=(CALL, CONNECTION)
)
def describe(
    endpoint: Annotated[str, typer.Argument(metavar="ENDPOINT", help="Server, as tcp://HOST:PORT")],
    options: Any,
) -> None:
    """Print the methods of a server: signatures, documentation, flags."""
    from ..clients.scripts import run

    def work(connected: Any) -> Generator[Any, Any, None]:
        described = yield connected.describe()
        if options["json"]:
            print_json(described, indent=2)
        else:
            say("\n".join(_lines(described)))

    run("threading", [endpoint], work, **connection(options))


def _lines(described: dict[str, Any]) -> Generator[str, None, None]:
    """The lines of the description for a reader."""
    methods = described["methods"]
    yield printable(f"{described['name']}: {len(methods)} method{'' if len(methods) == 1 else 's'}")
    for method in methods:
        yield ""
        yield printable(f"{method['signature']}")
        for line in method["doc"].splitlines():
            yield f"    {printable(line)}".rstrip()
        flags = ", ".join(_flags(method))
        if flags:
            yield printable(f"    [{flags}]")


def _flags(method: dict[str, Any]) -> Generator[str, None, None]:
    """The properties of a method beyond its signature."""
    yield from (name for name in ("stream", "idempotent", "readonly") if method[name])
    if method["once"] is not None:
        yield f"once per key, remembered for {method['once']:g} s"
    if method["timeout"] is not None:
        yield f"timeout {method['timeout']:g} s"
    if method["cache"] is not None:
        yield f"cached for {method['cache']:g} s"
    if method["priority"]:
        yield f"priority {method['priority']}"
    if method["limit"] is not None:
        yield f"limit {method['limit']}"
    for name, amount in method["resources"].items():
        yield f"needs {amount:g} {name}"
