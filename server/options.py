"""The options of `ringback.Server`; `ringback serve` takes the same ones, with dashes."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypedDict

from .. import backends, transport
from ..options.option import Option
from ..protocol.bounds import BATCH_BYTES, FRAME_BYTES, MAX_FRAMES, MAX_MESSAGES, ROLES
from ..tracing import is_tracing

if TYPE_CHECKING:
    from opentelemetry.trace import TracerProvider
    from prometheus_client import CollectorRegistry

    from ..state import State
    from ..transport.libzmq import ZmqContext
else:  # do not import these libraries only to name their types
    CollectorRegistry = State = ZmqContext = Any
    TracerProvider = bool  # a switch on the command line

MIB = 1 << 20

# Longest timeout in seconds, 30 years: clocks and timers accept no infinity.
LONGEST = 1e9

LOOP, SCHEDULING, BOUNDS = "Event loop and transport", "Scheduling", "Bounds"
STATE, MANY, SECURITY = "State", "Many servers", "Security"
LIFE, LOGS = "Process", "Logs, metrics, traces"
# In the order of the help text.
GROUPS = (LOOP, LIFE, SCHEDULING, SECURITY, STATE, MANY, LOGS, BOUNDS)


def _amounts(words: Sequence[str]) -> dict[str, float]:
    """Parse several `NAME=AMOUNT`."""
    amounts = {}
    for word in words:
        name, _, amount = word.partition("=")
        try:
            amounts[name] = float(amount)
        except ValueError:
            raise ValueError(f"must be NAME=AMOUNT, such as db=4, not {word!r}") from None
    return amounts


def _mebibytes(word: Any) -> int:
    if not str(word).isdecimal() or not int(word):
        raise ValueError(f"must be a whole number of MiB, 1 or more, not {word!r}")
    return int(word) * MIB


def _limit(word: Any) -> int | str:
    return int(word) if str(word).isdecimal() else str(word)


# Shorthands for the common kinds of option.
_bytes = partial(Option, group=BOUNDS, metavar="BYTES", unit="bytes")
_count = partial(Option, group=BOUNDS, metavar="N", at_least=1)
_time = partial(Option, metavar="SECONDS", unit="seconds", above=0, at_most=LONGEST)
_scheduling = partial(Option, group=SCHEDULING)
_many = partial(Option, group=MANY)
_security = partial(Option, group=SECURITY)
_loop = partial(Option, group=LOOP)


class LimitOptions(TypedDict, total=False):
    """Bounds on the input of clients."""

    max_size: Annotated[
        int, _bytes("Largest value, sent or received", 16 * MIB, at_least=FRAME_BYTES)
    ]
    # A lower bound could reject a batch of many small calls.
    max_elements: Annotated[
        int,
        _count(
            "Maximum values, lists and maps in the arguments of a call",
            1_000_000,
            at_least=BATCH_BYTES,
        ),
    ]
    max_messages: Annotated[
        int, _count("Maximum messages in a batch", MAX_MESSAGES, at_most=MAX_MESSAGES)
    ]
    max_frames: Annotated[
        int, _count("Maximum ZeroMQ frames in a message", MAX_FRAMES, at_most=MAX_FRAMES)
    ]
    max_connections: Annotated[
        int, _count("Maximum connections; beyond it the longest-idle one is closed", 10_000)
    ]
    max_in_flight: Annotated[int, _count("Maximum calls that run or wait to run", 100_000)]
    max_bytes_in_flight: Annotated[
        int,
        _bytes("Maximum estimated memory for the arguments of these calls", 256 * MIB, at_least=1),
    ]
    max_unserved: Annotated[
        int | None,
        _bytes(
            "Maximum bytes received but not yet handled, all clients", default_text="--max-size"
        ),
    ]
    max_unsent: Annotated[
        int | None,
        _bytes("Maximum bytes of unread replies, all clients", default_text="2 x --max-size"),
    ]
    handshake_timeout: Annotated[
        float, _time("Time for the handshake of a new connection", 5.0, group=BOUNDS)
    ]
    hello_timeout: Annotated[
        float, _time("Time for the first message of a new connection", 10.0, group=BOUNDS)
    ]


class ExecutorOptions(TypedDict, total=False):
    """Executors outside the server's process."""

    worker_processes: Annotated[
        int | None,
        _scheduling(
            "Worker processes of --executor process",
            metavar="N",
            at_least=1,
            default_text="one per processor",
        ),
    ]
    worker_memory: Annotated[
        int | None,
        _scheduling(
            "Maximum memory of each worker process (in Python: in bytes)",
            metavar="MIB",
            unit="bytes",
            at_least=1,
            read=_mebibytes,
        ),
    ]
    dask: Annotated[
        str | None,
        _scheduling("Address of the Dask scheduler, for --executor dask", metavar="ADDRESS"),
    ]


class SchedulingOptions(ExecutorOptions, total=False):
    """When and where calls run."""

    resources: Annotated[
        Mapping[str, float] | None,
        _scheduling(
            "Amount of a resource for methods that need it, per process",
            metavar="NAME=AMOUNT",
            flag="resource",
            repeated=True,
            read=_amounts,
        ),
    ]
    limit: Annotated[
        int | str | None,
        _scheduling(
            "Maximum calls that run at once; adaptive measures it",
            metavar="N|adaptive",
            read=_limit,
        ),
    ]
    aging: Annotated[
        float, _time("Waiting time that raises a call's priority by one", 1.0, group=SCHEDULING)
    ]
    max_priority: Annotated[
        int, _scheduling("Highest priority that a caller may ask for", 100, metavar="N")
    ]
    executor: Annotated[
        str | None,
        _scheduling("Where plain functions run: thread, process or dask", metavar="NAME"),
    ]


class ServingOptions(LimitOptions, SchedulingOptions, total=False):
    """The keyword arguments of `ringback.Server` on every backend."""

    transport: Annotated[
        str | None,
        _loop(
            "Transport: native, or libzmq for trusted clients",
            metavar="NAME",
            choices=transport.names,
            default_text=transport.DEFAULT,
            variable=transport.VARIABLE,
        ),
    ]
    context: Annotated[
        ZmqContext | None, _loop("A zmq.Context to share; it selects libzmq", in_command=False)
    ]
    uvloop: Annotated[bool, _loop("Run asyncio on uvloop", False)]
    reactor: Annotated[
        str | None, _loop("Twisted's reactor: epoll, asyncio, poll or select", metavar="NAME")
    ]
    workers: Annotated[
        int | None,
        _count(
            "Maximum threads (gevent: greenlets) for blocking handlers",
            group=SCHEDULING,
            default_text="32; gevent 1000",
        ),
    ]
    drain_timeout: Annotated[
        float,
        _time(
            "Time for accepted calls to finish after SIGTERM",
            30.0,
            group=LIFE,
            above=None,
            at_least=0,
            at_most=None,
        ),
    ]
    state: Annotated[
        State | str | None,
        Option("State store: sqlite:///FILE or valkey://HOST:PORT/0", group=STATE, metavar="URL"),
    ]
    role: Annotated[
        str,
        _many(
            "primary; or replica, which follows --state and serves readonly methods",
            "",
            metavar="NAME",
            choices=("", *ROLES),
        ),
    ]
    zone: Annotated[
        str, _many("Zone of this server; clients of the same zone prefer it", "", metavar="NAME")
    ]
    weight: Annotated[
        float,
        _many("Share of the calls, relative to other servers", 1.0, metavar="NUMBER", above=0),
    ]
    register: Annotated[
        str | None,
        _many("Registry: valkey://HOST:PORT/0, or sqlite:///FILE on one machine", metavar="URL"),
    ]
    service_name: Annotated[
        str | None, _many("Service name in the registry", metavar="NAME", default_text="its own")
    ]
    advertise: Annotated[
        str | Sequence[str] | None,
        _many(
            "Endpoint to announce instead of the bound one; port * is the bound port",
            metavar="ENDPOINT",
            repeated=True,
            read=list,
        ),
    ]
    access: Annotated[
        str | os.PathLike[str] | None,
        _security(
            "TOML file of access rules; calls that no rule allows are denied", metavar="FILE"
        ),
    ]
    rate: Annotated[
        float | None,
        _security(
            "Maximum calls per second for each client",
            metavar="CALLS/S",
            unit="calls per second",
            above=0,
        ),
    ]
    burst: Annotated[
        float | None,
        _security(
            "Maximum calls in one burst within --rate",
            metavar="N",
            at_least=1,
            default_text="one second's calls",
        ),
    ]
    secret_key: Annotated[
        str | Path | None,
        _security("File of the server's secret key; turns on encryption", metavar="FILE"),
    ]
    authorized_keys: Annotated[
        str | Path | None, _security("Directory of callers' public keys, or any", metavar="DIR|any")
    ]
    insecure: Annotated[bool, _security("Do not warn about unencrypted network access", False)]
    metrics: Annotated[
        str | CollectorRegistry | None,
        Option(
            "Serve Prometheus metrics at http://HOST:PORT/metrics",
            group=LOGS,
            metavar="HOST:PORT",
            fits=lambda value: (
                value is None or isinstance(value, str) or hasattr(value, "register")
            ),
            wanted="HOST:PORT, or a prometheus-client registry",
        ),
    ]
    trace: Annotated[
        bool | TracerProvider,
        Option(
            "Trace calls with OpenTelemetry",
            False,
            group=LOGS,
            fits=is_tracing,
            wanted="true or false, or a TracerProvider",
        ),
    ]


class ServerOptions(ServingOptions, total=False):
    """All options of a server."""

    backend: Annotated[
        str, _loop("Event loop of the server", "asyncio", metavar="NAME", choices=backends.names)
    ]


def longest(seconds: float) -> float:
    """The seconds, but at most 30 years."""
    return min(seconds, LONGEST)
