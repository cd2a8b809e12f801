"""The treatments of a round: every arm with every client, one arm twice, and other libraries.

A treatment is one combination of what the run varies: an arm (or another library) and a client
style. Rounds are the blocks: each has every treatment, in fresh processes.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

from .. import peers
from ..load.plan import FIRE_AND_CALLBACK
from . import pair
from .request import SCENARIO, STATEFUL, CellJob, CompareRequest


class Treatment(NamedTuple):
    """An arm with one client style: processes that are fresh in each round, and the cells measured
    between them. Of another library (kind "peer"), `arm` and `client` are its name."""

    arm: str
    client: str
    jobs: tuple[CellJob, ...]
    kind: str = "backend"  # or "control" (the second one of an arm), "peer"

    @property
    def server(self) -> tuple[str, str]:
        """Identity of its server; the treatments of an arm share one server."""
        return self.arm, self.kind

    def __str__(self) -> str:
        if self.kind == "peer":
            return f"peer {self.arm}"
        return f"{self.arm}{' (A/A control)' * (self.kind == 'control')}, {self.client} client"


def treatments(
    request: CompareRequest, failed: Collection[Treatment] = (), *, control: str | None = None
) -> list[Treatment]:
    """All treatments but the failed ones. The arm `control` is there twice, as A/A control: its
    differences are noise."""
    ours = [
        Treatment(arm, client, request.jobs_of(client))
        for arm in request.backends
        for client in request.callers
    ]
    others = [Treatment(name, name, lines(request, name), "peer") for name in request.peers]
    gone = {treatment._replace(jobs=()) for treatment in failed}
    there = [
        treatment
        for treatment in (*ours, *others)
        if treatment.jobs and treatment._replace(jobs=()) not in gone
    ]
    return [
        *there,
        *(treatment._replace(kind="control") for treatment in there if treatment.arm == control),
    ]


def groups(found: Sequence[Treatment]) -> list[list[Treatment]]:
    """Treatments that run at the same time: all of ringback together, each peer alone, as a peer
    may use its processor while idle."""
    ours = [treatment for treatment in found if treatment.kind != "peer"]
    return [ours] * bool(ours) + [[treatment] for treatment in found if treatment.kind == "peer"]


def lines(request: CompareRequest, name: str) -> tuple[CellJob, ...]:
    """The cells that this peer supports."""
    module = peers.load(name)
    fires = hasattr(module.Client, "fire")
    found = []
    for job in request.jobs:
        workload = request.workload(job.workload)
        own = job.workload == SCENARIO or workload.client or workload.overload
        if (
            not own
            and {*workload.methods} <= {*module.METHODS}
            and (fires or job.style != FIRE_AND_CALLBACK)
        ):
            found.append(job)
    return tuple(found)


def lacking(request: CompareRequest) -> dict[str, list[str]]:
    """By peer: the cells that it does not support."""
    missing = {name: {*request.jobs} - {*lines(request, name)} for name in request.peers}
    return {
        name: [f"{job.workload}, {job.style}" for job in request.jobs if job in jobs]
        for name, jobs in missing.items()
        if jobs
    }


def server(request: CompareRequest, treatment: Treatment, store: str) -> pair.ServerCommand:
    """The command of the treatment's server. `store` is the URL of its state store, if the
    workloads need one."""
    if treatment.kind == "peer":
        return pair.peer(treatment.arm, request.serving)
    arm = request.arm(treatment.arm)
    service, state = (STATEFUL, ("--state", store)) if request.stored else (request.service, ())
    return pair.backend(
        arm.backend,
        request.serving,
        service,
        options=(*state, *arm.options),
        python=arm.python,
        transport=arm.transport,
    )
