"""The options of `ringback tune`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated

from .. import backends
from ..options.option import Option

SEARCH, LOAD = "Search", "Load"


# Options of one group share its settings.
_search = partial(Option, group=SEARCH, metavar="N")
_load = partial(Option, group=LOAD, metavar="N")


@dataclass(frozen=True)
class TuneOptions:
    """Options of a run. None and () stand for the defaults."""

    service: Annotated[str, Option("The service", in_command=False)]
    scenario: Annotated[
        str | None,
        _load(
            "Function that takes a number and yields calls, as for compare; required",
            metavar="FILE[:NAME]",
        ),
    ] = None
    slo: Annotated[
        str | None,
        _search(
            "Maximum response time that the settings must meet, such as p99=50ms",
            metavar="OBJECTIVE",
        ),
    ] = None
    backend: Annotated[
        Sequence[str] | None,
        _search(
            "Backend; may be repeated", metavar="NAME", choices=backends.names, default_text="all"
        ),
    ] = None
    max_processes: Annotated[
        int | None, _search("Maximum processes", at_least=1, default_text="one per processor")
    ] = None
    trials: Annotated[
        int | None,
        _search("Maximum number of trials; without --time, their exact number", at_least=1),
    ] = None
    time: Annotated[
        float | None,
        _search(
            "Length of the run",
            metavar="SECONDS",
            unit="seconds",
            at_least=40,
            default_text="180 s, without --trials",
        ),
    ] = None
    seed: Annotated[
        int | None, _search("Seed of the search, to repeat a run", at_least=0, at_most=2**32 - 1)
    ] = None
    style: Annotated[
        str,
        _load(
            "Call style: request-reply or fire-and-callback",
            metavar="NAME",
            choices=("request-reply", "fire-and-callback"),
        ),
    ] = "request-reply"
    concurrency: Annotated[int, _load("Calls in flight", at_least=1)] = 64
    connections: Annotated[
        int,
        _load("Connections that the callers share; each reaches one server process", at_least=1),
    ] = 8
