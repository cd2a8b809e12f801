"""The request: the cells to measure, and the load and length of their slices."""

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

# Seconds of a slice. Machines change their speed a few times a second; the slices of two arms must
# be close enough in time to see the same speed.
_FIRED, _WAITED, _OPEN = 0.025, 0.03, 0.05
# Minimum seconds of a slice in the calibration.
_CALIBRATION = 0.1
# Minimum calls due in a slice of an open loop, its maximum seconds, and a rate if none is given.
_DUE, _LONGEST, _MANY = 20.0, 1.0, 1e9


class CellJob(NamedTuple):
    """A workload in one call style: a cell without its treatment."""

    workload: str
    style: str


@dataclass(frozen=True)
class CompareRequest:
    """A comparison to run. Every list is complete and has no duplicates.

    `backends` are the names of all arms; `arms` defines those that are not plain backends. Callers
    share `connections` connections to each server. `rate`, in calls/s, makes every cell an open
    loop. In a `duet` all servers work at once.

    `rounds` is the number asked for, or the maximum for the budget of `seconds`. With fewer than
    `fewest` rounds a workload is not measured. `fixed` rounds have no budget. `units` are the units
    of each job in a round, once they are known. `dropped` workloads did not fit in the time.
    `service` and `scenario` are targets, such as FILE:ATTRIBUTE.
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
        """The workloads and call styles to measure."""
        return tuple(
            CellJob(workload, style)
            for workload in self.workloads
            for style in self.styles
            if style in self.workload(workload).styles
        )

    @property
    def callers(self) -> tuple[str, ...]:
        """The clients asked for, and those that a workload prescribes."""
        own = (self.workload(name).client for name in self.workloads)
        return tuple(dict.fromkeys((*self.clients, *filter(None, own))))

    def jobs_of(self, client: str) -> tuple[CellJob, ...]:
        """The jobs measured with this client."""
        own = "" if client in self.clients else client
        return tuple(job for job in self.jobs if self.workload(job.workload).client == own)

    def arm(self, name: str) -> Arm:
        return self.arms.get(name) or Arm(name, name)

    def workload(self, name: str) -> Workload:
        """The workload of this name, or the user's own scenario."""
        if name == SCENARIO:
            return Workload(
                name, f"{self.scenario} on {self.service}", WORKLOADS["echo"].script, methods=()
            )
        return WORKLOADS[name]

    @property
    def stored(self) -> bool:
        """Whether the servers need a state store."""
        return any(self.workload(name).stored for name in self.workloads)

    @property
    def most_callers(self) -> int:
        """Maximum calls in flight of any cell."""
        return max(self.in_flight(self.workload(name)) for name in self.workloads)

    @property
    def serving(self) -> int:
        """Workers of each server: the maximum of calls in flight, unless the user asks for
        another."""
        return self.workers or self.most_callers

    def in_flight(self, workload: Workload) -> int:
        """Calls in flight of this workload in a closed loop."""
        return workload.concurrency or self.concurrency or workload.usual

    def load(self, job: CellJob, number: int) -> OfferedLoad:
        """The load of a slice in round `number`; round 0 is the calibration."""
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
        """Units of the job in a round; before the budget has set them, the workload's share."""
        return self.units.get(job) or self.workload(job.workload).units

    def without_last(self) -> CompareRequest | None:
        """The request without its last workload; None if it has only one."""
        *kept, last = self.workloads
        return replace(self, workloads=tuple(kept), dropped=(last, *self.dropped)) if kept else None
