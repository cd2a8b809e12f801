"""`ringback serve`: its options, and the preparation of the process."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from .. import backends
from ..endpoints import DEFAULT_ENDPOINT, checked, host_and_port
from ..errors import UsageError
from ..logs.tracebacks import located, user_traceback
from ..options.option import Option, options_of
from ..runtime import interpreter
from ..server.options import GROUPS, LIFE, LOGS, LOOP, ServerOptions, longest
from ..server.process import logs
from ..targets import split
from .arguments import load_service
from .options import freeze, takes, words_of
from .output import NOT_STARTED, USAGE, exiting

if TYPE_CHECKING:
    from ..transport.listening import InheritedSocket


# The options that most servers use; help shows them first.
FIRST = ("bind", "backend", "processes", "reload", "drain_timeout", "workers", "limit")

# Shorthands for two option groups.
_life = partial(Option, group=LIFE, in_python=False)
_logs = partial(Option, group=LOGS, in_python=False)


class ServeOptions(ServerOptions, total=False):
    """Options of the command, in addition to those of a server."""

    bind: Annotated[
        Sequence[str] | None,
        Option(
            "Endpoint to serve on; may be repeated; tcp port * is any free port",
            group=LOOP,
            metavar="ENDPOINT",
            default_text=DEFAULT_ENDPOINT,
        ),
    ]
    processes: Annotated[
        int | None,
        _life(
            "Number of processes; restarted if they die, replaced on SIGHUP",
            metavar="N",
            at_least=1,
        ),
    ]
    reload: Annotated[
        bool, _life("Replace the processes when a Python file changes, for development", False)
    ]
    max_requests: Annotated[
        int | None,
        _life(
            "Calls after which a process exits or is replaced, plus up to 10 %",
            metavar="N",
            at_least=1,
        ),
    ]
    log_config: Annotated[
        str | None,
        _logs("Logging configuration file: .json, .toml or ini", metavar="FILE"),
    ]
    log_level: Annotated[
        str | None,
        _logs(
            "Lowest severity that is logged",
            metavar="LEVEL",
            choices=logs.LEVELS,
            default_text="info",
        ),
    ]
    log_format: Annotated[
        str | None,
        _logs(
            "Log format: text, or json with one object per line",
            metavar="NAME",
            choices=logs.FORMATS,
            default_text="text",
        ),
    ]


@takes("serve", ServeOptions, groups=GROUPS, first=FIRST, argument="target")
def serve(
    context: typer.Context,
    target: Annotated[
        str,
        typer.Argument(
            metavar="MODULE_OR_FILE:ATTRIBUTE",
            help="Service to serve",
            envvar="RINGBACK_SERVE_TARGET",
            show_envvar=False,
        ),
    ],
    options: ServeOptions,
    supervised: Annotated[int | None, typer.Option(hidden=True)] = None,
    inherited: Annotated[list[str] | None, typer.Option(hidden=True)] = None,
    reports_to: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """Serve a service until SIGTERM or Ctrl-C; then finish the accepted calls and exit with 0."""
    processes = options["processes"] or (1 if options["reload"] else None)
    if supervised is not None:
        processes = None
    if options["backend"] == "gevent" and processes is None:
        with exiting(NOT_STARTED):
            _patch()
    from ..server.process.systemd import inherited_sockets
    from ..transport.listening import InheritedSocket, check_shared

    with exiting(USAGE):
        named = [checked(endpoint) for endpoint in options["bind"] or []]
        split(target)
        for endpoint in named if processes is not None else ():
            check_shared(endpoint)
        if processes is not None and str(options["state"]).startswith("memory://"):
            raise UsageError(
                "memory:// is a store of one process: use sqlite:///FILE with --processes and --reload"
            )
        metrics: Any = options["metrics"]  # as words
        if metrics is not None:
            host_and_port(metrics, "--metrics")
        logs.configure(options["log_level"], options["log_format"], options["log_config"])
    with exiting(NOT_STARTED):
        bound: list[str | InheritedSocket] = [
            InheritedSocket.read(word) for word in inherited or []
        ]
        if supervised is None:
            sockets = inherited_sockets()
            there = {each.endpoint for each in sockets}
            bound = [*(each for each in named if each not in there), *sockets] or [DEFAULT_ENDPOINT]
    _raise_descriptor_limit()
    if processes is not None:
        _supervise(context, target, bound, processes, options)

    from ..server.process.supervisor import Channel
    from ..server.running import run
    from ..server.server import Server

    with exiting(NOT_STARTED):
        service = load_service(target)
        if options["backend"] in backends.names():
            backends.load(options["backend"])  # raises if its library is missing
    given: Any = {name: options[name] for name in options_of(ServerOptions)}  # type: ignore[literal-required]
    if supervised is not None:
        given["metrics"] = None  # the supervisor serves them
    with exiting(USAGE):
        server = Server(service, bound, **given)
    channel = None if supervised is None else Channel(supervised)
    with exiting(NOT_STARTED), _in_lifespan():
        raise typer.Exit(run(server, channel, options["max_requests"], reports_to))


def _supervise(
    context: typer.Context,
    target: str,
    bound: list[str | InheritedSocket],
    processes: int,
    options: ServeOptions,
) -> NoReturn:
    """Serve from several processes, all with the same options."""
    from ..server.process import reloading
    from ..server.process.supervisor import Supervisor
    from ..transport import name_of, reasons

    words = words_of(context, "bind", "processes", "reload", "metrics", flags_alone=True)
    command = interpreter.command("-m", "ringback.server", target, *words)
    freeze(context, "serve", os.environ)
    endpoints = [each if isinstance(each, str) else each.endpoint for each in bound]
    exposed = options["secret_key"] is None and not options["insecure"]
    if exposed:
        command.append("--insecure")
    with exiting(NOT_STARTED):
        if options["reload"]:
            reloading.watch([Path.cwd(), *reloading.folders(target)])
            os.environ["PYTHONDONTWRITEBYTECODE"] = (
                "1"  # after two edits within a second, bytecode may be that of the first
            )
        metrics: Any = options["metrics"]  # as words
        supervisor = Supervisor(
            command,
            bound,
            processes,
            drain_timeout=longest(options["drain_timeout"]),
            metrics=metrics,
        )
    if exposed:
        logs.warn_of_exposed(target, endpoints)  # once for all processes
    if name_of(options["transport"]) == "libzmq":
        logging.getLogger("ringback.server").warning("%s", reasons.for_trusted_clients(endpoints))
    with exiting(NOT_STARTED):
        raise typer.Exit(supervisor.run())


@contextmanager
def _in_lifespan() -> Iterator[None]:
    """Turn an exception of the lifespan into one line, after its traceback in the log."""
    from ..server.lifespan import NOTE

    try:
        yield
    except BaseException as error:
        if NOTE not in getattr(error, "__notes__", ()):
            raise
        trace = user_traceback(error)
        if trace is not None and not isinstance(error, UsageError):
            log = logging.getLogger("ringback.server")
            log.error("the lifespan raised", exc_info=(type(error), error, trace))
        expected = isinstance(error, UsageError)
        reason = str(error) if expected else f"its lifespan raised {located(error)}"
        raise UsageError(f"the server did not start: {reason}") from None


def _raise_descriptor_limit() -> None:
    """Raise the soft limit of descriptors, often 1,024: each connection needs one."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (ValueError, OSError):
            pass  # macOS reports no limit but allows less


def _patch() -> None:
    """Apply gevent's patches before the service imports anything that they change."""
    backends.load("gevent")
    from gevent import monkey

    monkey.patch_all()
    from ..backends.gevent import processes as gevent_processes

    gevent_processes.patch()
