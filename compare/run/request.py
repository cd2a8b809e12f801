"""What is to be measured: the cells, and how long a slice of each takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from ..load.plan import FIRE_AND_CALLBACK, REQUEST_REPLY, OfferedLoad
from ..results import Arm
from ..workloads.table import WORKLOADS, Workload
from .pair import ANYWHERE, Placement

SERVICE = "ringback.compare.workloads:service"
STATEFUL = "ringback.compare.workloads:stateful"
SCENARIO = "scenario"

# Seconds of a slice: so short that a machine whose speed changes a few times a second has changed little before the next arm's.
_FIRED, _WAITED, _OPEN = 0.025, 0.03, 0.05
# Of a calibration.
_CALIBRATION = 0.1
# Calls that are due in a slice at least, where that is not too long.
_DUE, _LONGEST, _MANY = 20.0, 1.0, 1e9


class CellJob(NamedTuple):
    """A workload in one call style: a cell, but for who serves and who calls."""

    workload: str
    style: str


@dataclass(frozen=True)
class CompareRequest:
    """Every list is complete and without doubles. `backends` are the names of what is compared; `arms` says of those that are no backend as
    it comes what they are. Callers share so many `connections` to each server. `rate` makes every cell an open loop. In a `duet` all
    servers work at once.

    `rounds` is what is asked for, or the most that the `seconds` of the budget are spent on; `fewest` are those without which a workload is
    not worth measuring; where they are `fixed`, there is no budget. `units` are how often all arms take turns in a round, by job, where
    that is known. `dropped` is what there was no time for. `service` and `scenario` are targets.
    """

    backends: tuple[str, ...]
    arms: Mapping[str, Arm] = field(default_factory=dict)
    clients: tuple[str, ...] = ("threading",)
    styles: tuple[str, ...] = (REQUEST_REPLY,)
    workloads: tuple[str, ...] = ("echo",)
    concurrency: int | None = None
    workers: int | None = None
    connections: int = 1
    rounds: int = 8
    fewest: int = 5
    fixed: bool = False
    seconds: float = 165.0
    units: Mapping[CellJob, int] = field(default_factory=dict)
    dropped: tuple[str, ...] = ()
    rate: float | None = None
    quick: bool = False
    duet: bool = False
    placement: Placement = ANYWHERE
    peers: tuple[str, ...] = ()
    service: str = SERVICE
    scenario: str = ""
    seed: int = 0

    @property
    def jobs(self) -> tuple[CellJob, ...]:
        """The cells, but for who serves and who calls."""
        return tuple(
            CellJob(workload, style)
            for workload in self.workloads
            for style in self.styles
            if style in self.workload(workload).styles
        )

    @property
    def callers(self) -> tuple[str, ...]:
        """Who calls: the clients that are asked for, and those that a workload has for itself."""
        own = (self.workload(name).client for name in self.workloads)
        return tuple(dict.fromkeys((*self.clients, *filter(None, own))))

    def jobs_of(self, client: str) -> tuple[CellJob, ...]:
        """The cells that are measured with that client."""
        own = "" if client in self.clients else client
        return tuple(job for job in self.jobs if self.workload(job.workload).client == own)

    def arm(self, name: str) -> Arm:
        return self.arms.get(name) or Arm(name, name)

    def workload(self, name: str) -> Workload:
        """The workload of that name, be it the user's own."""
        if name == SCENARIO:
            return Workload(name, f"{self.scenario} on {self.service}", WORKLOADS["echo"].script, methods=())
        return WORKLOADS[name]

    @property
    def stored(self) -> bool:
        """Whether servers need a state store."""
        return any(self.workload(name).stored for name in self.workloads)

    @property
    def most_callers(self) -> int:
        """At once, in any cell."""
        return max(self.in_flight(self.workload(name)) for name in self.workloads)

    @property
    def serving(self) -> int:
        """The workers of each server: as many as there are callers at most, unless other is asked for."""
        return self.workers or self.most_callers

    def in_flight(self, workload: Workload) -> int:
        """The calls of it that are in flight in a closed loop."""
        return workload.concurrency or self.concurrency or workload.usual

    def load(self, job: CellJob, number: int) -> OfferedLoad:
        """A slice of the cell in that round; the first round is only a calibration."""
        workload = self.workload(job.workload)
        rate = None if workload.overload else self.rate
        window = workload.window or (_FIRED if job.style == FIRE_AND_CALLBACK else _WAITED)
        if workload.open or rate is not None:
            window = max(window, _OPEN, min(_LONGEST, _DUE / (rate or _MANY)))
        if number == 0:
            window = max(window, _CALIBRATION)
        return OfferedLoad(
            workload=job.workload,
            style=job.style,
            concurrency=self.in_flight(workload),
            warmup=0.0,
            window=window,
            rate=rate,
            seed=self.seed * 1000 + number,
        )

    def weight(self, job: CellJob) -> int:
        """How often all arms take turns in a round, where nothing else is known."""
        return self.units.get(job) or self.workload(job.workload).units

    def without_last(self) -> CompareRequest | None:
        """The same with one workload fewer; None where there is but one."""
        *kept, last = self.workloads
        return replace(self, workloads=tuple(kept), dropped=(last, *self.dropped)) if kept else None
