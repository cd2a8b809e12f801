"""`ringback serve`: its options, and what this process needs before it serves."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from .. import backends
from ..endpoints import DEFAULT_ENDPOINT, checked
from ..errors import UsageError
from ..logs.tracebacks import located, user_traceback
from ..runtime import interpreter
from ..server.limits import Limits, checked_drain_timeout
from ..targets import split
from ..terminal import fail
from .arguments import given_options, load_service, one_of, parse_amount
from .output import NOT_STARTED, USAGE


def serve(
    context: typer.Context,
    target: Annotated[str, typer.Argument(metavar="MODULE_OR_FILE:ATTRIBUTE", help="where the service is")],
    backend: Annotated[
        str, typer.Option(help="asyncio, gevent, threading or twisted, or one that another package adds")
    ] = "asyncio",
    bind: Annotated[
        list[str] | None,
        typer.Option(metavar="ENDPOINT", help="may be given several times; tcp port * is any free one"),
    ] = None,
    processes: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="serve from so many processes, which are watched and restarted, and on SIGHUP replaced one by one",
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1, help="the most threads (gevent: greenlets) that run blocking handlers [32; gevent 1000]"
        ),
    ] = None,
    resource: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=AMOUNT",
            help="what there is for methods with resources={NAME: ...}, in each process",
        ),
    ] = None,
    limit: Annotated[
        str | None,
        typer.Option(
            metavar="N|adaptive",
            help="calls that run at once; adaptive: learned, and what would not end in its time is refused",
        ),
    ] = None,
    aging: Annotated[
        float, typer.Option(metavar="SECONDS", help="of waiting that are worth one priority")
    ] = 1.0,
    max_priority: Annotated[int, typer.Option(metavar="N", help="the most that a caller may ask for")] = 100,
    executor: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="where functions run that do not say: thread, process or dask"),
    ] = None,
    worker_processes: Annotated[
        int | None, typer.Option(min=1, help="of --executor process [one for each processor]")
    ] = None,
    worker_memory: Annotated[
        int | None, typer.Option(min=1, metavar="MIB", help="the most that each worker process may have")
    ] = None,
    state: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="the state store of handlers, and of methods that run once for each key: sqlite:///FILE or valkey://HOST:PORT/0",
        ),
    ] = None,
    role: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="among many servers: primary, or replica: follows --state in memory, and takes calls of readonly methods only",
        ),
    ] = "",
    zone: Annotated[
        str, typer.Option(metavar="NAME", help="where this is: clients of the same zone prefer it")
    ] = "",
    weight: Annotated[
        float, typer.Option(metavar="NUMBER", help="the share of calls that it gets among many servers")
    ] = 1.0,
    register: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="the registry where this server announces itself: valkey://HOST:PORT/0, or sqlite:///FILE on one machine",
        ),
    ] = None,
    service_name: Annotated[
        str | None, typer.Option(metavar="NAME", help="of the service in the registry [its own]")
    ] = None,
    advertise: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ENDPOINT",
            help="how clients reach it, where that is not what is bound; port * is the one that is bound",
        ),
    ] = None,
    max_size: Annotated[
        int, typer.Option(metavar="BYTES", help="the largest value taken or sent")
    ] = Limits.max_size,
    max_elements: Annotated[
        int, typer.Option(metavar="N", help="the most values, lists and maps in the arguments of one call")
    ] = Limits.max_elements,
    max_messages: Annotated[
        int, typer.Option(min=1, metavar="N", help="the most that come together; clients are told")
    ] = Limits.max_messages,
    max_frames: Annotated[
        int, typer.Option(min=1, metavar="N", help="the most ZeroMQ frames of a message; clients are told")
    ] = Limits.max_frames,
    max_connections: Annotated[
        int,
        typer.Option(
            min=1, metavar="N", help="the most at once; one more costs who has been silent for longest"
        ),
    ] = Limits.max_connections,
    max_in_flight: Annotated[
        int,
        typer.Option(
            metavar="N", help="the most calls that are handled or wait for that; of one client 9/10"
        ),
    ] = Limits.max_in_flight,
    max_bytes_in_flight: Annotated[
        int,
        typer.Option(
            min=1, metavar="BYTES", help="of memory for their arguments, estimated; of one client 9/10"
        ),
    ] = Limits.max_bytes_in_flight,
    max_unserved: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="BYTES", help="received and not handled yet, of all clients [--max-size]"
        ),
    ] = Limits.max_unserved,
    max_unsent: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="BYTES", help="of answers that clients have not read, of all [2 x --max-size]"
        ),
    ] = Limits.max_unsent,
    handshake_timeout: Annotated[
        float, typer.Option(metavar="SECONDS", help="for the handshake of a new connection")
    ] = Limits.handshake_timeout,
    hello_timeout: Annotated[
        float, typer.Option(metavar="SECONDS", help="in which a connection must say something")
    ] = Limits.hello_timeout,
    access: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="TOML rules that say who may call what; all others may nothing"),
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(metavar="CALLS/S", help="the most that each client may make; more is refused"),
    ] = None,
    burst: Annotated[
        float | None, typer.Option(metavar="N", help="of --rate: so many at once [what comes in a second]")
    ] = None,
    secret_key: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="this server's own key, as keys new makes it: encrypt, and know who calls"
        ),
    ] = None,
    authorized_keys: Annotated[
        str | None,
        typer.Option(
            metavar="DIR|any",
            help="whom to let in: the public keys there, read anew when they change; any: whoever has the server's key",
        ),
    ] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="do not warn that others can reach it, without --secret-key")
    ] = False,
    dask: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="where the scheduler of --executor dask is")
    ] = None,
    drain_timeout: Annotated[
        float, typer.Option(min=0, help="seconds that accepted calls get to finish after SIGTERM")
    ] = 30.0,
    transport: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="native: the loop's own sockets; or libzmq, for trusted clients [$RINGBACK_TRANSPORT, or native]",
        ),
    ] = None,
    uvloop: Annotated[bool, typer.Option("--uvloop", help="run asyncio on uvloop")] = False,
    reactor: Annotated[
        str | None, typer.Option(metavar="NAME", help="Twisted's reactor: epoll, asyncio, poll, select")
    ] = None,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error")] = "info",
    log_format: Annotated[str, typer.Option(help="text, or json: one object a line")] = "text",
    supervised: Annotated[int | None, typer.Option(hidden=True)] = None,
    inherited: Annotated[list[str] | None, typer.Option(hidden=True)] = None,
) -> None:
    """Serve a service until SIGTERM or Ctrl-C; then finish what was accepted and exit with 0."""
    if backend == "gevent" and processes is None:
        with _exiting(NOT_STARTED):
            _patch()
    from ..server.process import logs
    from ..transport.listening import check_shared

    with _exiting(USAGE):
        one_of(logs.LEVELS, log_level, "--log-level")
        one_of(logs.FORMATS, log_format, "--log-format")
        endpoints = [checked(endpoint) for endpoint in bind or [DEFAULT_ENDPOINT]]
        resources = dict(parse_amount(word) for word in resource or [])
        at_once = int(limit) if limit is not None and limit.isdecimal() else limit
        split(target)
        checked_drain_timeout(drain_timeout)
        for endpoint in endpoints if processes is not None else ():
            check_shared(endpoint)
    logs.configure(log_level, log_format)
    _raise_descriptor_limit()
    if processes is not None:
        from ..server.process.supervisor import Supervisor
        from ..transport import name_of, reasons

        command = interpreter.command(
            "-m", "ringback.server", target, *given_options(context, "bind", "processes")
        )
        exposed = secret_key is None and not insecure
        if exposed:
            command.append("--insecure")
        with _exiting(NOT_STARTED):
            supervisor = Supervisor(command, endpoints, processes, drain_timeout=drain_timeout)
        if exposed:
            logs.warn_of_exposed(target, endpoints)  # once for all of them
        if name_of(transport) == "libzmq":
            logging.getLogger("ringback.server").warning("%s", reasons.for_trusted_clients(endpoints))
        with _exiting(NOT_STARTED):
            raise typer.Exit(supervisor.run())

    from ..server.process.supervisor import Channel
    from ..server.server import Server, run
    from ..transport.listening import InheritedSocket

    with _exiting(NOT_STARTED):
        service = load_service(target)
        if backend in backends.names():
            backends.load(backend)  # its library may be missing
    with _exiting(USAGE):
        server = Server(
            service,
            [InheritedSocket.read(word) for word in inherited or []] or endpoints,
            backend=backend,
            workers=workers,
            resources=resources,
            limit=at_once,
            aging=aging,
            max_priority=max_priority,
            executor=executor,
            worker_processes=worker_processes,
            dask=dask,
            state=state,
            role=role,
            zone=zone,
            weight=weight,
            register=register,
            service_name=service_name,
            advertise=advertise,
            max_size=max_size,
            max_elements=max_elements,
            max_messages=max_messages,
            max_frames=max_frames,
            max_connections=max_connections,
            max_in_flight=max_in_flight,
            max_bytes_in_flight=max_bytes_in_flight,
            max_unserved=max_unserved,
            max_unsent=max_unsent,
            handshake_timeout=handshake_timeout,
            hello_timeout=hello_timeout,
            access=access,
            rate=rate,
            burst=burst,
            worker_memory=None if worker_memory is None else worker_memory << 20,
            secret_key=secret_key,
            authorized_keys=authorized_keys,
            insecure=insecure,
            drain_timeout=drain_timeout,
            transport=transport,
            uvloop=uvloop,
            reactor=reactor,
        )
    with _exiting(NOT_STARTED), _in_lifespan():
        raise typer.Exit(run(server, None if supervised is None else Channel(supervised)))


@contextmanager
def _exiting(status: int) -> Iterator[None]:
    """What is wrong within is one line, and ends the command with that status."""
    try:
        yield
    except UsageError as error:
        fail(str(error))
        raise typer.Exit(status) from None


@contextmanager
def _in_lifespan() -> Iterator[None]:
    """What the user's code raises instead of a start is one line, after the traceback of that code in the log."""
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
    """Each connection is a descriptor, and the soft limit is often 1,024."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (ValueError, OSError):
            pass  # macOS says there is no limit, and allows less


def _patch() -> None:
    """gevent's patches, before anything that it patches is imported by the service."""
    backends.load("gevent")
    from gevent import monkey

    monkey.patch_all()
    from ..backends.gevent import processes as gevent_processes

    gevent_processes.patch()
