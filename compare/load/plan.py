"""What the parent asks of a load generator, a JSON line each on its standard input: a `LoadPlan`, then `Cell`s.

The answer to the plan is a line `ready`, to a cell a `sample.Sample`.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

REQUEST_REPLY = "request-reply"
FIRE_AND_CALLBACK = "fire-and-callback"
STYLES = (REQUEST_REPLY, FIRE_AND_CALLBACK)

# The client that is none: calls by the protocol itself.
RAW = "raw"

# Seconds.
_LONG = 0.2


class LoadPlan(msgspec.Struct, frozen=True, kw_only=True):
    """How one generator makes all its calls. `peer` is the library that stands in place of ringback; `scenario` a FILE:ATTRIBUTE.

    Its callers share so many `connections` to each server, each caller with one that it keeps: of a server with many processes, one
    connection is one process.
    """

    client: str
    cpu_steps: int
    timeout: float
    max_callers: int
    peer: str = ""
    scenario: str = ""
    connections: int = 1

    @property
    def max_in_flight(self) -> int:
        """The client's bound, which must not be what is measured."""
        return 2 * max(10_000, self.max_callers)


class OfferedLoad(NamedTuple):
    """Calls, how they come, and for how long: seconds of warm-up and window, after which no more are made.

    A closed loop has `concurrency` callers. An open loop, where `rate` is given, has arrivals at so many calls a second; `seed` gives every
    backend the same ones, and nothing else. One call in `stride` is timed. `timeout` is each call's own, in seconds, where not the plan's;
    `peak` the calls/s that the server can do, where more are to come.
    """

    workload: str
    style: str
    concurrency: int
    warmup: float
    window: float
    rate: float | None = None
    seed: int = 0
    stride: int = 1
    timeout: float | None = None
    peak: float | None = None

    @property
    def long(self) -> bool:
        """Whether a machine changes more within a slice than from one to the next."""
        return self.window >= _LONG

    @property
    def open(self) -> bool:
        """Whether calls come when they are due, rather than when callers are free."""
        return self.rate is not None


class Cell(msgspec.Struct, frozen=True):
    """One slice, which begins when it is read, of the server at this `endpoint`, called over that `transport` where one is told.

    Its scripts are given numbers from `first` on, which no other measurement of the run is given. They fit 64 bits, signed: larger ones
    would be coded in another way than those that users call with.
    """

    load: OfferedLoad
    endpoint: str
    first: int = 0
    transport: str = ""
