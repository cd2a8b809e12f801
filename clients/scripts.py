"""Small programs for any client style: a generator makes the calls, and a runner waits for them.

The generator receives the client and yields the return value of each call: a result, a coroutine, a
Deferred, a future, or an `Each`. The runner waits in the way of the style, sends the outcome back,
and raises an error at the yield. The command line and the two client scripts use it.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Generator, Sequence
from typing import Annotated, Any, TypedDict

import typer

from ..endpoints import check_between_processes
from ..options.option import Option
from ..terminal import warn
from . import load, names
from .base import Client

Work = Callable[[Any], Generator[Any, Any, None]]

# Beyond this number of calls, results are counted and not printed.
PRINTED = 20

# Seconds after which a program that waits for a server reports this.
PATIENCE = 1.0


class ScriptOptions(TypedDict, total=False):
    """Options of a client script."""

    count: Annotated[int, Option("Number of calls", 1, group="Call", metavar="N", at_least=1)]


class Each:
    """The items of a stream; the runner gives each one to `sink`."""

    def __init__(self, stream: Any, sink: Callable[[Any], object]) -> None:
        self.stream = stream
        self.sink = sink


def run(style: str, endpoints: Sequence[str], work: Work, **options: Any) -> None:
    """Connect in that style, run the work, and close. Raises the errors of the work.
    An unknown style or an invalid endpoint ends the command."""
    from ..commands.output import FAILED, USAGE, exiting

    with exiting(USAGE if style not in names() else FAILED):
        kind: type[Client] = load(style)
    with exiting(USAGE):
        for endpoint in endpoints:
            check_between_processes(endpoint, "a command")
        client = kind(*endpoints, **options)
    waiting = threading.Timer(
        PATIENCE, _tell_of_waiting, [client, endpoints, options.get("timeout")]
    )
    waiting.daemon = True
    if options.get("wait_for_ready", True):
        waiting.start()
    try:
        kind.run_program(_run(client, work, waiting.cancel))
    finally:
        waiting.cancel()


def _tell_of_waiting(client: Client, endpoints: Sequence[str], timeout: float | None) -> None:
    """Report that the program still waits for a server.
    Runs in its own thread and only reads the client's state."""
    if client.state not in ("ready", "closed"):
        limit = "" if timeout is None else f", for at most {timeout:g} s"
        warn(f"waiting for a server at {', '.join(endpoints)}{limit} (--no-wait fails at once)")


async def _run(client: Client, work: Work, answered: Callable[[], object]) -> None:
    """Run the work on any loop.
    A blocking style awaits nothing. `answered` is called after each outcome."""
    ended = False
    try:
        steps = work(client)
        outcome, error = None, None
        while True:
            try:
                step = steps.throw(error) if error is not None else steps.send(outcome)
            except StopIteration:
                break
            outcome, error = None, None
            try:
                outcome = await _outcome(step)
            except Exception as raised:
                error = raised
            answered()
        ended = True
    finally:
        await _outcome(client.close(now=not ended))


async def _outcome(step: Any) -> Any:
    if isinstance(step, Each):
        if hasattr(step.stream, "__anext__"):
            async with step.stream as items:
                async for item in items:
                    step.sink(item)
        else:
            with step.stream as stream:
                for item in stream:
                    step.sink(item)
        return None
    if hasattr(step, "__await__"):
        return await step
    return step.result() if hasattr(step, "add_done_callback") or hasattr(step, "rawlink") else step


def script(
    command: str,
    explanation: str,
    calls: Callable[[Any, str, list[Any], int, Callable[[Any], None]], Any],
) -> int:
    """The command line of a client script: `ENDPOINT [METHOD [ARG]...] [--count N] [--client
    NAME]`."""
    from ..commands.arguments import parse_value
    from ..commands.calling import (
        CALL,
        CONNECTION,
        KeyOptions,
        StyleOptions,
        TimeoutOptions,
        WaitOptions,
        connection,
    )
    from ..commands.options import MethodCommand, takes
    from ..commands.output import Printer, run_command

    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    settings = {"ignore_unknown_options": True, "help_option_names": ["-h", "--help"]}

    @app.command(cls=MethodCommand, help=explanation, context_settings=settings)
    @takes(
        command,
        ScriptOptions,
        TimeoutOptions,
        StyleOptions,
        WaitOptions,
        KeyOptions,
        groups=(CALL, CONNECTION),
    )
    def main(
        endpoint: Annotated[
            str, typer.Argument(metavar="ENDPOINT", help="The server, as tcp://HOST:PORT")
        ],
        options: Any,
        method: Annotated[
            str, typer.Argument(metavar="METHOD", help="Name of the method")
        ] = "ringback.ping",
        arguments: Annotated[
            list[str] | None,
            typer.Argument(metavar="ARG", help="JSON, or a string where it is not JSON"),
        ] = None,
    ) -> None:
        count = options["count"]
        args = [parse_value(text) for text in arguments or []]
        answered = 0
        printer = Printer()

        def show(result: Any) -> None:
            nonlocal answered
            answered += 1
            if count <= PRINTED:
                printer(result)

        start = time.perf_counter()
        run(
            options["client"],
            [endpoint],
            lambda connected: calls(connected, method, args, count, show),
            **connection(options),
        )
        seconds = time.perf_counter() - start
        printer.check()
        typer.echo(
            f"{answered} calls of {method} in {seconds:.3f} s: {answered / seconds:,.0f} calls/s",
            err=True,
        )

    return run_command(app, sys.argv[1:])
