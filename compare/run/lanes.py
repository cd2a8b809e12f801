"""Who runs in a round: every arm with every client, one of them twice, and other libraries."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

from .. import peers
from ..load.plan import FIRE_AND_CALLBACK
from . import pair
from .request import SCENARIO, STATEFUL, CellJob, CompareRequest


class Lane(NamedTuple):
    """A server and a client, both fresh in each round, and the cells that are measured between them."""

    backend: str
    client: str
    jobs: tuple[CellJob, ...]
    kind: str = "backend"  # or "twin", "peer"

    @property
    def server(self) -> tuple[str, str]:
        """Tells its server from others; lanes of several clients share one."""
        return self.backend, self.kind

    def __str__(self) -> str:
        if self.kind == "peer":
            return f"peer {self.backend}"
        return f"{self.backend}{' again' * (self.kind == 'twin')}, {self.client} client"


def lanes(request: CompareRequest, failed: Collection[Lane] = (), *, twin: str | None = None) -> list[Lane]:
    """All that is compared, but what has failed. One of the arms, the `twin`, is there once more: what that shows is noise."""
    ours = [
        Lane(arm, client, request.jobs_of(client)) for arm in request.backends for client in request.callers
    ]
    others = [Lane(name, name, lines(request, name), "peer") for name in request.peers]
    gone = {lane._replace(jobs=()) for lane in failed}
    there = [lane for lane in (*ours, *others) if lane.jobs and lane._replace(jobs=()) not in gone]
    return [*there, *(lane._replace(kind="twin") for lane in there if lane.backend == twin)]


def groups(found: Sequence[Lane]) -> list[list[Lane]]:
    """Those that are there at once: all of ringback. Each other library is for itself: it may not rest when idle."""
    ours = [lane for lane in found if lane.kind != "peer"]
    return [ours] * bool(ours) + [[lane] for lane in found if lane.kind == "peer"]


def lines(request: CompareRequest, name: str) -> tuple[CellJob, ...]:
    """The cells that another library can be measured in."""
    module = peers.load(name)
    fires = hasattr(module.Client, "fire")
    found = []
    for job in request.jobs:
        workload = request.workload(job.workload)
        own = job.workload == SCENARIO or workload.client or workload.overload
        if not own and {*workload.methods} <= {*module.METHODS} and (fires or job.style != FIRE_AND_CALLBACK):
            found.append(job)
    return tuple(found)


def lacking(request: CompareRequest) -> dict[str, list[str]]:
    """By other library, the cells of which it has none."""
    missing = {name: {*request.jobs} - {*lines(request, name)} for name in request.peers}
    return {
        name: [f"{job.workload}, {job.style}" for job in request.jobs if job in jobs]
        for name, jobs in missing.items()
        if jobs
    }


def server(request: CompareRequest, lane: Lane, store: str) -> pair.ServerCommand:
    """How the lane's server is started; its state, if it needs any, is in that `store`."""
    if lane.kind == "peer":
        return pair.peer(lane.backend, request.serving)
    arm = request.arm(lane.backend)
    service, state = (STATEFUL, ("--state", store)) if request.stored else (request.service, ())
    return pair.backend(
        arm.backend,
        request.serving,
        service,
        options=(*state, *arm.options),
        python=arm.python,
        transport=arm.transport,
    )
