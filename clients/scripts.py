"""Small programs that run on any client style: a generator makes the calls, and a runner waits the way its style waits.

The generator gets the client, yields whatever a call returned (a result, a coroutine, a Deferred, a future, an `Each`), and is sent
what came of it; what failed is raised at its yield. The command line and the two client scripts are written this way.
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Generator, Sequence
from importlib import import_module
from typing import Annotated, Any

import typer

from ..endpoints import check_between_processes
from ..errors import UsageError
from ..security.options import SecretKey, ServerKey
from .base import Client

Work = Callable[[Any], Generator[Any, Any, None]]

STYLES = ("threading", "gevent", "asyncio", "twisted")

# More results than these are not printed, only counted.
PRINTED = 20


class Each:
    """Every item of a stream, to be given to `sink` as it comes."""

    def __init__(self, stream: Any, sink: Callable[[Any], object]) -> None:
        self.stream = stream
        self.sink = sink


def run(style: str, endpoints: Sequence[str], work: Work, **options: Any) -> None:
    """Connect in that style, run the work, close. Raises what the work raises, and UsageError for a style that is not to be had."""
    if style not in STYLES:
        raise UsageError(f"there is no client style {style!r}: choose one of {', '.join(STYLES)}")
    try:
        connect: Callable[..., Client] = import_module(f".{style}", __package__).connect
    except ImportError as error:
        if error.name is not None and error.name.partition(".")[0] == style:
            raise UsageError(
                f"the {style} client needs {style}: install it with pip install 'ringback[{style}]'"
            ) from None
        raise
    for endpoint in endpoints:
        check_between_processes(endpoint, "a command")
    client = connect(*endpoints, **options)
    if style == "asyncio":
        import asyncio

        asyncio.run(_run_async(client, work))
    elif style == "twisted":
        _run_on_reactor(client, work)
    else:
        if style == "gevent":
            _interrupt_main_greenlet()
        _run_blocking(client, work)


def _interrupt_main_greenlet() -> None:
    """Ctrl-C is raised in this greenlet, and not in the midst of what the hub does."""
    import gevent

    gevent.signal_handler(signal.SIGINT, gevent.getcurrent().throw, KeyboardInterrupt)


def _run_blocking(client: Any, work: Work) -> None:
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
                outcome = _wait(step)
            except Exception as raised:
                error = raised
        ended = True
    finally:
        client.close(now=not ended)


def _wait(step: Any) -> Any:
    if isinstance(step, Each):
        with step.stream as stream:
            for item in stream:
                step.sink(item)
        return None
    if hasattr(step, "add_done_callback"):
        return step.result()
    return step.get() if hasattr(step, "rawlink") else step


async def _run_async(client: Any, work: Work) -> None:
    """For asyncio, and for the reactor, whose coroutines await Deferreds."""
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
                if isinstance(step, Each):
                    async with step.stream as stream:
                        async for item in stream:
                            step.sink(item)
                else:
                    outcome = await step if hasattr(step, "__await__") else step
            except Exception as raised:
                error = raised
        ended = True
    finally:
        await client.close(now=not ended)


def _run_on_reactor(client: Any, work: Work) -> None:
    from twisted.internet import reactor as installed
    from twisted.internet.defer import ensureDeferred

    reactor: Any = installed
    failures: list[BaseException] = []

    async def main() -> None:
        try:
            await _run_async(client, work)
        except BaseException as error:
            failures.append(error)
        finally:
            stop()

    stopped = False

    def stop() -> None:
        nonlocal stopped
        if not stopped:
            stopped = True
            reactor.stop()

    def interrupt() -> None:
        failures.insert(0, KeyboardInterrupt())
        client.close(now=True)
        stop()

    signal.signal(signal.SIGINT, lambda *_: reactor.callFromThread(interrupt))
    reactor.callWhenRunning(lambda: ensureDeferred(main()))
    reactor.run(installSignalHandlers=False)
    if failures:
        raise failures[0]


def script(explanation: str, calls: Callable[[Any, str, list[Any], int, Callable[[Any], None]], Any]) -> int:
    """The command line of a client script: `ENDPOINT [METHOD [ARG]...] [--count N] [--client NAME]`."""
    from ..commands.arguments import MethodCommand, parse_value
    from ..commands.output import Printer, run_command

    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)

    @app.command(cls=MethodCommand, help=explanation, context_settings={"ignore_unknown_options": True})
    def main(
        endpoint: Annotated[str, typer.Argument(metavar="ENDPOINT")],
        method: Annotated[str, typer.Argument(metavar="METHOD")] = "ringback.ping",
        arguments: Annotated[
            list[str] | None,
            typer.Argument(metavar="ARG", help="JSON, or a string where it is not JSON"),
        ] = None,
        count: Annotated[int, typer.Option(min=1, help="how many calls")] = 1,
        client: Annotated[str, typer.Option(help="the client style: " + ", ".join(STYLES))] = "threading",
        timeout: Annotated[float, typer.Option(min=0, help="seconds each call may take")] = 30.0,
        server_key: ServerKey = None,
        secret_key: SecretKey = None,
    ) -> None:
        args = [parse_value(text) for text in arguments or []]
        answered = 0
        printer = Printer()

        def show(result: Any) -> None:
            nonlocal answered
            answered += 1
            if count <= PRINTED:
                printer(result)

        start = time.perf_counter()
        options = {"timeout": timeout, "server_key": server_key, "secret_key": secret_key}
        run(client, [endpoint], lambda connected: calls(connected, method, args, count, show), **options)
        seconds = time.perf_counter() - start
        printer.check()
        typer.echo(
            f"{answered} calls of {method} in {seconds:.3f} s: {answered / seconds:,.0f} calls/s", err=True
        )

    return run_command(app, sys.argv[1:])
