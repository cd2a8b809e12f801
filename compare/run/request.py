"""What is to be measured: the lanes of a round, the cells of a lane, and how long each takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from ..load.plan import REQUEST_REPLY, Load
from ..workloads.table import WORKLOADS, Workload
from .pair import ANYWHERE, Placement
from .search import Objective

SERVICE = "ringback.compare.workloads:service"
STATEFUL = "ringback.compare.workloads:stateful"
SLOW = "ringback.compare.workloads.balances:slow"
SCENARIO = "scenario"

# Callers in the windows of a sweep.
SWEEP = (1, 2, 4, 8, 16, 32, 64, 128)

# No window is longer, however long its calls take.
_LONGEST = 3.0


class Job(NamedTuple):
    """A workload in one call style: a cell, but for who serves and who calls."""

    workload: str
    style: str


class Lane(NamedTuple):
    """A server and a client, both fresh in each round, and the cells that are measured between them."""

    backend: str
    client: str
    jobs: tuple[Job, ...]
    kind: str = "backend"  # or "twin", "null", "peer"

    def __str__(self) -> str:
        if self.kind == "null":
            return f"the {self.client} client's ceiling"
        if self.kind == "peer":
            return f"peer {self.backend}"
        return f"{self.backend}{' again' * (self.kind == 'twin')}, {self.client} client"


@dataclass(frozen=True)
class Request:
    """Every list is complete and without doubles. `rate` makes every cell an open loop, as `search` does at many rates.

    `rounds` is what is asked for, or the most that the `seconds` of the budget are spent on; `fewest` are those without which a workload is
    not worth measuring; where they are `fixed`, there is no budget. `residence` is the mean time of a call of the slowest backend, as far
    as it is known, and a window holds `responses` of it. `dropped` is what there was no time for. `service` and `scenario` are targets.
    `state` is the URL of the store that servers have if a workload needs one; where empty, each has a file of its own. Workloads that are
    balanced have so many `servers`, or, where that is None, each its own number.
    """

    backends: tuple[str, ...]
    clients: tuple[str, ...] = ("threading",)
    styles: tuple[str, ...] = (REQUEST_REPLY,)
    workloads: tuple[str, ...] = ("echo",)
    concurrency: int = 64
    workers: int | None = None
    rounds: int = 8
    fewest: int = 5
    fixed: bool = False
    seconds: float = 165.0
    warmup: float = 0.08
    window: float = 0.22
    responses: float = 10.0
    residence: Mapping[Job, float] = field(default_factory=dict)
    dropped: tuple[str, ...] = ()
    rate: float | None = None
    objective: Objective | None = None
    arrivals: str = "poisson"
    sweep: tuple[int, ...] = SWEEP
    thorough: bool = False
    quick: bool = False
    placement: Placement = ANYWHERE
    peers: tuple[str, ...] = ()
    service: str = SERVICE
    scenario: str = ""
    limit: str = ""
    state: str = ""
    servers: int | None = None
    seed: int = 0

    @property
    def jobs(self) -> tuple[Job, ...]:
        """The cells of a lane."""
        return tuple(
            Job(workload, style)
            for workload in self.workloads
            for style in self.styles
            if style in self.workload(workload).styles
        )

    def workload(self, name: str) -> Workload:
        """The workload of that name, be it the user's own."""
        if name == SCENARIO:
            return Workload(name, f"{self.scenario} on {self.service}", WORKLOADS["echo"].script, methods=())
        return WORKLOADS[name]

    @property
    def stored(self) -> bool:
        """Whether servers need a state store."""
        return any(self.workload(name).stored for name in self.workloads)

    def spread(self, workload: Workload) -> int:
        """How many servers take part in it."""
        return 1 if workload.servers == 1 else self.servers or workload.servers

    @property
    def equal(self) -> int:
        """The most servers that are alike, in any workload."""
        found = [self.workload(name) for name in self.workloads]
        return max((self.spread(each) - each.slow for each in found), default=1)

    @property
    def slow(self) -> bool:
        """Whether any workload has a slow server."""
        return any(self.workload(name).slow for name in self.workloads)

    @property
    def most_callers(self) -> int:
        """At once, in any cell."""
        return max((self.concurrency, *self.sweep))

    @property
    def serving(self) -> int:
        """The workers of each server: as many as there are callers, unless other is asked for."""
        return self.workers or self.concurrency

    def load(self, job: Job, number: int) -> Load:
        """The cell in that round; the first, which is only a rehearsal, is shorter."""
        workload = self.workload(job.workload)
        shrink = 0.5 if number == 0 else 1.0
        # Calls that wait for each other end in waves: the shorter a window beside them, the more of its figure is chance.
        residence = 0.0 if number == 0 or self.objective is not None else self.residence.get(job, 0.0)
        return Load(
            workload=job.workload,
            style=job.style,
            concurrency=workload.concurrency or self.concurrency,
            warmup=max(self.warmup, workload.warmup, min(residence, _LONGEST)),
            window=max(self.window * shrink, workload.window, min(self.responses * residence, _LONGEST)),
            rate=None if workload.burst or workload.overload else self.rate,
            arrivals=self.arrivals,
            burst=workload.burst,
            seed=self.seed * 1000 + number,
            servers=self.spread(workload),
            slow=workload.slow,
        )

    def without_last(self) -> Request | None:
        """The same with one workload fewer; None where there is but one."""
        *kept, last = self.workloads
        return replace(self, workloads=tuple(kept), dropped=(last, *self.dropped)) if kept else None

    def without_sweep(self) -> Request:
        """The same with no more callers than asked for."""
        return replace(self, sweep=(), dropped=("sweep", *self.dropped))

    def swept(self, lane: Lane) -> Job | None:
        """The cell of which a lane is measured with ever more callers."""
        if not self.sweep or lane.kind != "backend":
            return None
        return next((job for job in lane.jobs if job.workload in ("echo", SCENARIO)), None)


def small(workload: Workload) -> bool:
    """Whether its calls are like those on which a generator's ceiling is measured."""
    return workload.name in ("echo", "pooled")
