"""The options of `ringback compare`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

from .. import backends, clients, transport
from ..options.option import Option

BACKENDS = ("asyncio", "gevent", "threading", "twisted")

Given = Sequence[str] | None

WHAT, LOAD, RUN = "Arms and clients", "Load", "Run"

_TIME = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|h|)")
_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}


def seconds(text: Any) -> float:
    """The seconds in `90`, `15m` or `2h`. Raises ValueError for other texts, and below 1 s."""
    found = _TIME.fullmatch(str(text))
    if found is None or (time := float(found[1]) * _UNITS[found[2]]) < 1:
        raise ValueError(f"must be a second or more, such as 90, 15m or 2h, not {text!r}")
    return time


# Options of one group share its settings.
_what = partial(Option, group=WHAT, metavar="NAME")
_load = partial(Option, group=LOAD, metavar="N")
_run = partial(Option, group=RUN)


@dataclass(frozen=True)
class CompareOptions:
    """Options of a run. None and () stand for the defaults."""

    backend: Annotated[
        Given, _what("Backend; may be repeated", choices=backends.names, default_text="all")
    ] = None
    arm: Annotated[
        Given,
        _what(
            "Backend with options of ringback serve, such as 'uv=asyncio --uvloop'; may be "
            "repeated",
            metavar="NAME=SETTINGS",
        ),
    ] = None
    transport: Annotated[
        Given,
        _what(
            "Transport of both ends; if repeated, each arm runs over each, as NAME-TRANSPORT",
            choices=transport.names,
        ),
    ] = None
    against: Annotated[
        str | None,
        _what(
            "Other virtual environment: measure each arm with its ringback too, as NAME-against",
            metavar="VENV",
        ),
    ] = None
    peer: Annotated[Given, _what("Other library: pyzmq, zerorpc, rpyc, grpc, grpc-aio, or all")] = (
        None
    )
    client: Annotated[
        Given, _what("Client style", choices=clients.names, default_text="threading")
    ] = None
    style: Annotated[
        Given,
        _what(
            "Call style: request-reply or fire-and-callback",
            choices=("request-reply", "fire-and-callback"),
            default_text="both",
        ),
    ] = None
    workload: Annotated[Given, _load("Workload; --list shows them", metavar="NAME")] = None
    service: Annotated[
        str | None, _load("Your own service, called by --scenario", metavar="FILE:ATTRIBUTE")
    ] = None
    scenario: Annotated[
        str | None, _load("Function that takes a number and yields calls", metavar="FILE[:NAME]")
    ] = None
    concurrency: Annotated[
        int | None,
        _load("Calls in flight", at_least=1, default_text="64; echo, cpu and payload-64k 8"),
    ] = None
    workers: Annotated[
        int | None, _load("Workers of each server", at_least=1, default_text="calls in flight")
    ] = None
    rate: Annotated[
        float | None,
        _load(
            "Arrival rate of calls (open loop), however slow the server is",
            metavar="CALLS/S",
            unit="calls per second",
            above=0,
            at_most=1e7,
        ),
    ] = None
    quick: Annotated[bool, _run("Compare within a minute: echo, cpu and io")] = False
    thorough: Annotated[bool, _run("Compare for half an hour: all workloads, up to 30 rounds")] = (
        False
    )
    duet: Annotated[bool, _run("Run all servers at once: compares CPU time only, but closely")] = (
        False
    )
    rounds: Annotated[
        int | None,
        _run("Rounds, however long they take; with --time, made to fit", metavar="N", at_least=1),
    ] = None
    time: Annotated[
        float | None,
        _run(
            "Length of the run, such as 90, 15m or 2h",
            metavar="SECONDS",
            unit="seconds",
            read=seconds,
        ),
    ] = None
    seed: Annotated[
        int | None,
        _run(
            "Seed of order and arrivals, to repeat a run",
            metavar="N",
            at_least=0,
            at_most=2**53 - 1,
        ),
    ] = None
    pin: Annotated[bool, _run("Pin server and client to separate processors, if there are two")] = (
        True
    )
