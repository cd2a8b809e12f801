"""The command line: `ringback serve`, `call`, `describe`, `health`, `servers`, `top`, `keys`, `access`, `compare`, `report`, `tune`.
One clear line for what goes wrong, and never a traceback.

Imports what a command needs inside that command: `--help` starts no event loop, and gevent's patches come before all else.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from collections.abc import Callable, Generator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .endpoints import DEFAULT_ENDPOINT, checked
from .errors import CallError, UsageError
from .security.options import SecretKey, ServerKey
from .targets import find

if TYPE_CHECKING:
    from .server.service import Service

app = typer.Typer(
    name="ringback",
    help="One Python service over ZeroMQ, on the event loop you choose.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.command()
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
    max_size: Annotated[int, typer.Option(metavar="BYTES", help="the largest value taken or sent")] = 16
    * 1024
    * 1024,
    max_elements: Annotated[
        int, typer.Option(metavar="N", help="the most values, lists and maps in the arguments of one call")
    ] = 1_000_000,
    max_in_flight: Annotated[
        int, typer.Option(min=1, metavar="N", help="the most calls that are handled or wait for that")
    ] = 100_000,
    max_bytes_in_flight: Annotated[
        int, typer.Option(min=1, metavar="BYTES", help="of memory for their arguments, at most; estimated")
    ] = 256 * 1024 * 1024,
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
        _patch()
    from .server import logs

    one_of(logs.LEVELS, log_level, "--log-level")
    one_of(logs.FORMATS, log_format, "--log-format")
    logs.configure(log_level, log_format)
    _raise_descriptor_limit()
    endpoints = [checked(endpoint) for endpoint in bind or [DEFAULT_ENDPOINT]]
    resources = dict(_amount(word) for word in resource or [])
    at_once = int(limit) if limit is not None and limit.isdecimal() else limit
    if processes is not None:
        from .server.supervisor import Supervisor

        command = [sys.executable, "-m", "ringback.server", target, *_given(context, "bind", "processes")]
        if secret_key is None and not insecure:
            logs.warn_of_exposed(target, endpoints)  # once for all of them
            command.append("--insecure")
        raise typer.Exit(Supervisor(command, endpoints, processes, drain_timeout=drain_timeout).run())

    from .server.listening import Inherited
    from .server.server import serve as run
    from .server.supervisor import Channel

    service = load_service(target)
    status = run(
        service,
        [Inherited.read(word) for word in inherited or []] or endpoints,
        channel=None if supervised is None else Channel(supervised),
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
        max_in_flight=max_in_flight,
        max_bytes_in_flight=max_bytes_in_flight,
        access=access,
        rate=rate,
        burst=burst,
        worker_memory=None if worker_memory is None else worker_memory << 20,
        secret_key=secret_key,
        authorized_keys=authorized_keys,
        insecure=insecure,
        drain_timeout=drain_timeout,
        uvloop=uvloop,
        reactor=reactor,
    )
    raise typer.Exit(status)


@app.command(context_settings={"ignore_unknown_options": True})
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
        str, typer.Option(help="the client style: threading, gevent, asyncio or twisted")
    ] = "threading",
    fire: Annotated[bool, typer.Option("--fire", help="fire, and print what the callback gets")] = False,
    server_key: ServerKey = None,
    secret_key: SecretKey = None,
) -> None:
    """Call a method and print its result as one line of JSON; a stream is one line an item."""
    from .clients.scripts import Each, run

    def work(connected: Any) -> Generator[Any, Any, None]:
        described = {entry["name"]: entry for entry in (yield connected.call("ringback.describe"))["methods"]}
        entry = described.get(method, {"parameters": [], "stream": False})
        args, kwargs = parse_arguments(arguments or [], entry["parameters"])
        if entry["stream"]:
            yield Each(connected.stream(method, *args, **kwargs), print_json)
        elif fire:
            yield connected.fire(method, *args, callback=print_json, errback=lambda _: None, **kwargs)
        else:
            print_json((yield connected.call(method, *args, **kwargs)))

    run(client, [endpoint], work, timeout=timeout, server_key=server_key, secret_key=secret_key)


@app.command()
def describe(
    endpoint: Annotated[str, typer.Argument(metavar="ENDPOINT")],
    timeout: Annotated[float, typer.Option(min=0, help="seconds the call may take")] = 30.0,
    server_key: ServerKey = None,
    secret_key: SecretKey = None,
) -> None:
    """Print what a server serves: methods, signatures, documentation, flags."""
    from .clients.scripts import run

    def work(connected: Any) -> Generator[Any, Any, None]:
        print_json((yield connected.describe()), indent=2)

    run("threading", [endpoint], work, timeout=timeout, server_key=server_key, secret_key=secret_key)


@app.command()
def servers(
    url: Annotated[
        str,
        typer.Argument(metavar="URL", help="the registry; with ?service=NAME, the servers of one service"),
    ],
    as_json: Annotated[
        bool, typer.Option("--json", help="print all that is known, as one JSON array")
    ] = False,
) -> None:
    """List the servers that have announced themselves in a registry, one a line."""
    from .discovery.listing import announced, as_data, as_lines

    rows = announced(url)
    if as_json:
        print_json(as_data(rows))
    for line in [] if as_json else as_lines(rows):
        typer.echo(line)
    if not rows:
        typer.echo("ringback: no server is announced there", err=True)


rules = typer.Typer(help="The rules that say who may call what.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(rules, name="access")


@rules.callback()
def _rules() -> None:
    """So that `check` is a command of its own, though there is no other."""


@rules.command()
def check(
    file: Annotated[str, typer.Argument(metavar="FILE", help="as of ringback serve --access")],
    user: Annotated[str, typer.Argument(metavar="USER", help="the name of a key; anonymous: who has none")],
    method: Annotated[str, typer.Argument(metavar="METHOD")],
) -> None:
    """Tell whether a user may call a method, and by which rule: exit status 0 if so, 1 if not."""
    from pathlib import Path

    from .server.access import ANONYMOUS, read

    rule = read(Path(file)).may("" if user == ANONYMOUS else user, method)
    typer.echo(f"{user} may {'not ' if rule is None else ''}call {method}: {rule or 'no rule says so'}")
    raise typer.Exit(1 if rule is None else 0)


@app.command()
def health(
    endpoint: Annotated[str, typer.Argument(metavar="ENDPOINT")],
    timeout: Annotated[float, typer.Option(min=0, help="seconds that the answer may take")] = 2.0,
    server_key: ServerKey = None,
    secret_key: SecretKey = None,
) -> None:
    """Tell whether a server takes calls, for probes: exit status 0 if it does, 1 if there is none, it is silent, or shutting down."""
    from .clients.health import run
    from .security.curve import ClientKeys

    # (what is said in the plain way, without keys, is not parsed here, but in __main__.py)
    raise typer.Exit(run(endpoint, timeout, ClientKeys.asked_for(server_key, secret_key)))


@app.command()
def top(
    endpoint: Annotated[str, typer.Argument(metavar="ENDPOINT")],
    interval: Annotated[
        float, typer.Option(min=0.1, metavar="SECONDS", help="between two looks at the server")
    ] = 1.0,
    timeout: Annotated[float, typer.Option(min=0, help="seconds that a look may take")] = 30.0,
    server_key: ServerKey = None,
    secret_key: SecretKey = None,
) -> None:
    """Show what a server does: calls by method, what waits, what is taken. Until Ctrl-C; once where the output is no terminal."""
    from .clients.scripts import run
    from .clients.top import watch

    options = {"timeout": timeout, "server_key": server_key, "secret_key": secret_key}
    run("threading", [endpoint], lambda client: watch(client, interval), **options)


keys = typer.Typer(
    help="Make and show keys, for servers that encrypt and know who calls.", no_args_is_help=True
)
app.add_typer(keys, name="keys")


@keys.command()
def new(
    directory: Annotated[str, typer.Argument(metavar="DIR", help="where to write them")],
    name: Annotated[str, typer.Argument(metavar="NAME", help="whose they are: a server's, or a caller's")],
) -> None:
    """Make a pair of keys: NAME.key, which others may have, and NAME.key_secret, which nobody else may. Overwrites nothing."""
    from .security.keys import make

    public, secret = make(directory, name)
    typer.echo(f"ringback: {public} is the public key, {secret} the secret one")


@keys.command()
def show(
    file: Annotated[str, typer.Argument(metavar="FILE", help="of a public key or a secret one")],
) -> None:
    """Print the public key, as --server-key takes it."""
    from .security.keys import read_public

    typer.echo(read_public(file).decode())


CsvFile = Annotated[
    str | None, typer.Option("--csv", metavar="FILE", help="write a line for each cell; - is standard output")
]
HtmlFile = Annotated[
    str | None, typer.Option("--html", metavar="FILE", help="write a page with plots, which needs no network")
]


# What --self-check takes: it measures what it needs, and nothing else.
_OF_SELF_CHECK = ("self_check", "seed", "json_file", "csv_file", "html_file")


@app.command()
def compare(
    context: typer.Context,
    backend: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="all that are installed, where not given")
    ] = None,
    client: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="the client styles [threading]")
    ] = None,
    style: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="request-reply or fire-and-callback; both, where not given"),
    ] = None,
    workload: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="lone, echo, echo-rate, payload-64k, cpu, io; also payload-1k, payload-1m, pooled, io-async, overload, mixed, burst, "
            "idle, stream, counter, read, balance",
        ),
    ] = None,
    protect: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME,...",
            help="how calls of counter are kept consistent: none, lock, version, idempotency; all of them, where not given",
        ),
    ] = None,
    optimise: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME,...",
            help="what speeds up calls of read: none, cache, async-io, balance; all of them, where not given",
        ),
    ] = None,
    policy: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME,...",
            help="how calls of balance choose among servers of which one is slow: round-robin, least-in-flight, two-choices, peak-ewma, "
            "all without ejection; default, a client without options, with it; hedge, that with second calls; all of them, where not given",
        ),
    ] = None,
    servers: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="of balance [3, one of them slow], and of read with --optimise balance [2]",
        ),
    ] = None,
    state: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="the store of counter's counters [a SQLite file of each server, in a temporary directory]",
        ),
    ] = None,
    service: Annotated[
        str | None, typer.Option(metavar="FILE:ATTRIBUTE", help="your own service, called by a --scenario")
    ] = None,
    scenario: Annotated[
        str | None, typer.Option(metavar="FILE[:NAME]", help="a function of a number that yields calls")
    ] = None,
    concurrency: Annotated[int, typer.Option(min=1, help="calls in flight")] = 64,
    workers: Annotated[
        int | None, typer.Option(min=1, help="workers of each server [as many as calls in flight]")
    ] = None,
    limit: Annotated[
        str | None,
        typer.Option(
            metavar="N|adaptive", help="of each server: calls that run at once, as of ringback serve"
        ),
    ] = None,
    rate: Annotated[
        str | None,
        typer.Option(
            metavar="CALLS/S|search",
            help="calls come at this rate whatever the server does; search: at the highest that keeps the --slo",
        ),
    ] = None,
    slo: Annotated[
        str | None, typer.Option(metavar="OBJECTIVE", help="what --rate search keeps, such as p99=20ms")
    ] = None,
    arrivals: Annotated[
        str, typer.Option(metavar="KIND", help="how calls come at a rate: poisson (at random) or even")
    ] = "poisson",
    quick: Annotated[
        bool, typer.Option("--quick", help="under 45 seconds, instead of under three minutes")
    ] = False,
    thorough: Annotated[
        bool,
        typer.Option("--thorough", help="half an hour: all workloads, up to 15 rounds, every round a sweep"),
    ] = False,
    rounds: Annotated[
        int | None,
        typer.Option(
            min=1, help="so many, whatever they take; with --time what can be measured so often in that time"
        ),
    ] = None,
    time: Annotated[
        float | None,
        typer.Option(
            min=1, help="seconds that the run may take, in which as many rounds are measured as fit"
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, max=2**53 - 1, help="of the order and the arrivals, to repeat a run")
    ] = None,
    pin: Annotated[
        bool, typer.Option(help="give server and client processors of their own, where there are two")
    ] = True,
    peer: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="another library beside it: pyzmq, zerorpc, rpyc, pyro5, grpc, grpc-aio, aiozmq, or all that are installed",
        ),
    ] = None,
    fail_if: Annotated[
        list[str] | None,
        typer.Option(metavar="CONDITION", help="exit status 3 if met, 4 if that cannot be told: 'p99>20ms'"),
    ] = None,
    json_file: Annotated[
        str | None,
        typer.Option("--json", metavar="FILE", help="write every figure as JSON; - is standard output"),
    ] = None,
    csv_file: CsvFile = None,
    html_file: HtmlFile = None,
    self_check: Annotated[
        bool,
        typer.Option(
            "--self-check",
            help="measure whether what this command says can be trusted here; with --seed, --json, --csv, --html alone",
        ),
    ] = False,
) -> None:
    """Measure the backends head to head: each in its own process, called by the same clients in both styles."""
    _require_extra("compare")
    from .compare.options import Options
    from .compare.outputs import Outputs

    outputs = Outputs(json_file, csv_file, html_file)
    if self_check:
        from .compare.checks import self_check as check_itself

        for option in context.command.params:
            source = context.get_parameter_source(option.name or "")
            if option.name not in _OF_SELF_CHECK and source is not None and source.name == "COMMANDLINE":
                text = f"--self-check measures what it needs by itself: {option.opts[0]} is not for it"
                raise typer.BadParameter(text)
        raise typer.Exit(check_itself(outputs, seed))
    from .compare.command import compare as run

    options = Options(
        backends=backend or [],
        clients=client or [],
        styles=style or [],
        workloads=workload or [],
        concurrency=concurrency,
        workers=workers,
        quick=quick,
        thorough=thorough,
        rounds=rounds,
        time=time,
        rate=rate,
        slo=slo,
        arrivals=arrivals,
        pin=pin,
        seed=seed,
        peers=peer or [],
        service=service,
        scenario=scenario,
        limit=limit,
        protect=protect or [],
        optimise=optimise or [],
        policy=policy or [],
        servers=servers,
        state=state,
    )
    raise typer.Exit(run(options, outputs, fail_if or [], sys.argv[2:]))


@app.command()
def report(
    file: Annotated[str, typer.Argument(metavar="FILE", help="what compare --json wrote")],
    newer: Annotated[
        str | None, typer.Argument(metavar="[NEWER]", help="a later run, to be compared with the first")
    ] = None,
    fail_if: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CONDITION",
            help="exit status 3 if met, 4 if that cannot be told: 'p99>20ms', of two runs 'throughput<95%'",
        ),
    ] = None,
    csv_file: CsvFile = None,
    html_file: HtmlFile = None,
) -> None:
    """Show a comparison again, or what changed from one to a later one."""
    _require_extra("compare")
    from .compare.command import report as run
    from .compare.outputs import Outputs

    older, shown = (None, file) if newer is None else (file, newer)
    raise typer.Exit(run(older, shown, Outputs(None, csv_file, html_file), fail_if or []))


@app.command()
def tune(
    service: Annotated[str, typer.Argument(metavar="MODULE_OR_FILE:ATTRIBUTE", help="where the service is")],
    scenario: Annotated[
        str,
        typer.Option(metavar="FILE[:NAME]", help="a function of a number that yields calls, as for compare"),
    ],
    slo: Annotated[
        str | None,
        typer.Option(metavar="OBJECTIVE", help="what the settings have to keep, such as p99=50ms"),
    ] = None,
    backend: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="all that are installed, where not given")
    ] = None,
    max_processes: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="the most to try [one for each processor]")
    ] = None,
    style: Annotated[
        str, typer.Option(metavar="NAME", help="request-reply or fire-and-callback")
    ] = "request-reply",
    concurrency: Annotated[int, typer.Option(min=1, help="calls in flight")] = 64,
    connections: Annotated[
        int, typer.Option(min=1, help="that the callers share; one talks to one process")
    ] = 8,
    trials: Annotated[
        int | None, typer.Option(min=1, help="the most settings to try; without --time, so many")
    ] = None,
    time: Annotated[
        float | None, typer.Option(min=40, help="seconds that the run may take [180, without --trials]")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, max=2**32 - 1, help="of what is tried in which order")
    ] = None,
    json_file: Annotated[
        str | None,
        typer.Option("--json", metavar="FILE", help="write everything as JSON; - is standard output"),
    ] = None,
) -> None:
    """Find settings for a service: try backends, workers, limits and processes, and measure the best against the defaults."""
    _require_extra("tune")
    from .tune.command import tune as run
    from .tune.request import Options

    options = Options(
        service=service,
        scenario=scenario,
        slo=slo,
        backends=backend or [],
        max_processes=max_processes,
        style=style,
        concurrency=concurrency,
        connections=connections,
        trials=trials,
        time=time,
        seed=seed,
    )
    raise typer.Exit(run(options, json_file, sys.argv[2:]))


def _given(context: typer.Context, *without: str) -> list[str]:
    """The options that this command was given, as they are given to another of its kind."""
    words: list[str] = []
    for option in context.command.params:
        name = option.name or ""
        source = context.get_parameter_source(name)
        if (
            option.param_type_name != "option"
            or name in without
            or source is None
            or source.name != "COMMANDLINE"
        ):
            continue
        value = context.params[name]
        for each in value if isinstance(value, (list, tuple)) else [value]:
            words += [option.opts[0]] if each is True else [option.opts[0], str(each)]
    return words


_LIBRARIES = ("numpy", "scipy", "hdrh", "psutil", "plotly", "jinja2")


def _require_extra(name: str) -> None:
    """Raises UsageError that names the extra of that command, where a library of it is missing."""
    for library in (*_LIBRARIES, *(["optuna"] if name == "tune" else [])):
        if importlib.util.find_spec(library) is None:
            raise UsageError(
                f"ringback {name} needs {library}: install it with pip install 'ringback[{name}]'"
            )


def _amount(word: str) -> tuple[str, float]:
    """What `NAME=AMOUNT` says. Raises UsageError."""
    name, _, amount = word.partition("=")
    try:
        return name, float(amount)
    except ValueError:
        raise UsageError(f"--resource must be NAME=AMOUNT, such as db=4, not {word!r}") from None


def load_service(target: str) -> Service:
    """The service that `MODULE_OR_FILE:ATTRIBUTE` names. Raises UsageError that says what is missing where."""
    from .server.service import Service

    found = find(target)
    if not isinstance(found, Service):
        raise UsageError(f"{target} is a {type(found).__name__}, not a ringback.Service")
    return found


def parse_arguments(
    given: Sequence[str], parameters: Sequence[dict[str, Any]]
) -> tuple[list[Any], dict[str, Any]]:
    """JSON where it is JSON, a string where not; `NAME=` only where the method has a parameter of that name."""
    names = {
        p["name"] for p in parameters if p["kind"] not in ("positional_only", "var_positional", "var_keyword")
    }
    any_name = any(p["kind"] == "var_keyword" for p in parameters)
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if equals and (name in names or (any_name and name.isidentifier())):
            kwargs[name] = parse_value(value)
        elif kwargs:
            raise UsageError(f"argument {text!r} comes after a named one")
        else:
            args.append(parse_value(text))
    return args, kwargs


def parse_value(text: str) -> Any:
    """The JSON value, or the text itself."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def print_json(value: Any, indent: int | None = None) -> None:
    """Print as JSON; what JSON has not (bytes, dates) as msgspec writes it."""
    import msgspec

    text = msgspec.json.encode(value)
    typer.echo(msgspec.json.format(text, indent=indent) if indent else text)


def main(args: Sequence[str] | None = None) -> int:
    """Run a command; the exit status is 0, 1 with one line on standard error, 2 for usage, or 130 for Ctrl-C."""
    return run_command(app, args)


def run_command(command: Callable[..., Any], args: Sequence[str] | None) -> int:
    """Run a typer app or command, with every error as its one line."""
    try:
        status = command(args=args, standalone_mode=False)
    except typer.Abort:
        return 130
    except KeyboardInterrupt:
        return 130
    except typer.TyperException as error:
        return _show_usage(error)
    except UsageError as error:
        return _fail(str(error))
    except CallError as error:
        return _fail(f"{error.code}: {error}")
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader has gone: no word at exit
        return 1
    return status if isinstance(status, int) else 0


def _show_usage(error: Any) -> int:
    error.show()  # a usage line and the reason
    status: int = error.exit_code
    return status


def _fail(text: str) -> int:
    print(f"ringback: {' '.join(text.split())}", file=sys.stderr)  # noqa: T201
    return 1


def one_of(words: Sequence[str], word: str, option: str) -> None:
    """Raises UsageError for another word."""
    if word not in words:
        raise UsageError(f"{option} must be one of {', '.join(words)}, not {word!r}")


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
    from . import backends

    backends.load("gevent")
    from gevent import monkey

    monkey.patch_all()
