"""Messages from the parent to a load generator, JSON lines on its standard input: a `LoadPlan`,
then `SlicePlan`s.

The generator answers the plan with the line `ready`, and a cell with a `sample.Sample`.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

REQUEST_REPLY = "request-reply"
FIRE_AND_CALLBACK = "fire-and-callback"
STYLES = (REQUEST_REPLY, FIRE_AND_CALLBACK)

# The name for calls without a client, by the protocol itself: see `raw.py`.
RAW = "raw"

# Seconds of a long slice: within it a machine changes its speed more than between two slices.
_LONG = 0.2


class LoadPlan(msgspec.Struct, frozen=True, kw_only=True):
    """How one generator makes all its calls. `peer` is another library to use instead of ringback;
    `scenario` is a FILE:ATTRIBUTE.

    Its callers share `connections` connections to each server, and each caller keeps to one: a
    connection reaches one process of a server.
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
        """The client's limit of calls in flight, high enough not to affect the measurement."""
        return 2 * max(10_000, self.max_callers)


class OfferedLoad(NamedTuple):
    """The calls of a slice: how they arrive, and for how long (`warmup` and `window`, in seconds).

    A closed loop has `concurrency` callers. An open loop has a `rate` of arrivals, in calls/s;
    `seed` gives every backend the same arrival times, and has no other effect. One call in `stride`
    is timed. `timeout` in seconds replaces the plan's; `peak` is the server's capacity in calls/s,
    given for an overload.
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
        """Whether a machine changes its speed more within this slice than from one to the next."""
        return self.window >= _LONG

    @property
    def open(self) -> bool:
        """Whether calls arrive at a rate, rather than when callers are free."""
        return self.rate is not None


class SlicePlan(msgspec.Struct, frozen=True):
    """One slice with the server at `endpoint`, which begins when the generator reads it.

    `transport` is the client's; empty for the default. Its scripts get numbers from `first` on,
    which no other measurement of the run gets. They fit in 64 bits, signed: larger ones would have
    another encoding than usual arguments.
    """

    load: OfferedLoad
    endpoint: str
    first: int = 0
    transport: str = ""
