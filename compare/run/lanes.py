"""Who runs in a round: every arm with every client, one of them twice, and other libraries."""

from __future__ import annotations

import itertools
import random
from copy import copy
from types import ModuleType

from .. import peers
from ..load.plan import FIRE_AND_CALLBACK
from . import pair
from .measured import Measured
from .request import SCENARIO, SLOW, STATEFUL, Job, Lane, Request

# The cell in which a client shows the most that it can do.
CAPACITY = Job("echo", FIRE_AND_CALLBACK)


class Lanes:
    """Those of one run. What is in `failed` is not tried again; state stores are in the `directory`. Raises UsageError where another
    library is not installed."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.failed: set[Lane] = set()
        self.directory = ""
        self._stores = itertools.count(1)
        self._chance = random.Random(request.seed + 1)  # noqa: S311
        self._peers: dict[str, ModuleType] = {name: peers.load(name) for name in request.peers}

    def of(self, request: Request) -> Lanes:
        """Those of another request, without what has failed. To ask them takes nothing from the chance of the run."""
        other = copy(self)
        other.request = request
        other._chance = random.Random(request.seed)  # noqa: S311
        return other

    def rehearsal(self) -> list[Lane]:
        """Every arm; with what the rate of open loops is found by, if nothing else does."""
        lanes = [*self._backends(), *self._others()]
        jobs = self.request.jobs
        workloads = [self.request.workload(job.workload) for job in jobs]
        opens = any(each.open and not each.overload for each in workloads)
        if opens and CAPACITY not in jobs and self.request.rate is None:
            lanes = [
                lane._replace(jobs=(*lane.jobs, CAPACITY)) if lane.kind == "backend" else lane
                for lane in lanes
            ]
        return lanes

    def round(self) -> list[Lane]:
        """The same with a twin."""
        return [*self._backends(), *self._twins(), *self._others()]

    def _backends(self) -> list[Lane]:
        lanes = [
            Lane(backend, client, self.request.jobs_of(client))
            for backend in self.request.backends
            for client in self.request.callers
        ]
        return [lane for lane in lanes if lane.jobs and not self._gave_up(lane)]

    def _gave_up(self, lane: Lane) -> bool:
        return any(lane[:2] == other[:2] and lane.kind == other.kind for other in self.failed)

    def groups(self, lanes: list[Lane]) -> list[list[Lane]]:
        """Those that are there at once: all of ringback. Each other library is for itself: it may not rest when idle."""
        ours = [lane for lane in lanes if lane.kind != "peer"]
        groups = [ours] * bool(ours) + [[lane] for lane in lanes if lane.kind == "peer"]
        self._chance.shuffle(groups)
        return groups

    def _twins(self) -> list[Lane]:
        """One of the arms, measured again: what that shows is noise. A search would take too long for it."""
        lanes = self._backends()
        if not lanes or self.request.objective is not None:
            return []
        chosen = self._chance.choice(lanes).backend
        return [lane._replace(kind="twin") for lane in lanes if lane.backend == chosen]

    def _others(self) -> list[Lane]:
        lanes = [Lane(name, name, self._lines(name), "peer") for name in self._peers]
        return [lane for lane in lanes if lane.jobs and not self._gave_up(lane)]

    def _lines(self, name: str) -> tuple[Job, ...]:
        """The cells that another library can be measured in."""
        module = self._peers[name]
        fires = hasattr(module.Client, "fire")
        return tuple(
            job
            for job in self.request.jobs
            if set(self.request.workload(job.workload).methods) <= set(module.METHODS)
            and job.workload != SCENARIO
            and not self.request.workload(job.workload).client
            and not self.request.workload(job.workload).overload
            and self.request.workload(job.workload).servers == 1
            and (fires or job.style != FIRE_AND_CALLBACK)
        )

    def lacking(self) -> dict[str, list[str]]:
        """By other library, the cells of which it has none."""
        return {
            name: [
                f"{job.workload}, {job.style}" for job in self.request.jobs if job not in self._lines(name)
            ]
            for name in self._peers
        }

    def without_a_line(self) -> list[str]:
        """The other libraries that can be measured in no cell."""
        return [name for name in self._peers if not self._lines(name)]

    def server(self, lane: Lane) -> pair.Server:
        """How its server is started."""
        if lane.kind == "peer":
            return pair.peer(lane.backend, self.request.serving)
        request = self.request
        service, state = request.service, ""
        if request.stored:
            service = STATEFUL
            # Each server its own: what earlier ones have left in a file would be part of what it costs to use it.
            state = request.state or f"sqlite:///{self.directory}/{next(self._stores)}.db"
        return self._backend(lane, service, limit=request.limit, state=state)

    def _backend(self, lane: Lane, service: str, **options: str) -> pair.Server:
        arm = self.request.arm(lane.backend)
        return pair.backend(
            arm.backend, self.request.serving, service, options=arm.options, python=arm.python, **options
        )

    def others(self, lane: Lane) -> list[pair.Server]:
        """How the servers are started that share its work where that is balanced; the slow one, if any is, is the last."""
        request = self.request
        if lane.kind not in ("backend", "twin"):
            return []
        found = [self.server(lane) for _ in range(request.equal - 1)]
        if request.slow:
            found.append(self._backend(lane, SLOW, limit=request.limit))
        return found

    def loop(self, lane: Lane) -> str:
        """The client style, which for a peer is that of its own client."""
        return str(self._peers[lane.backend].LOOP) if lane.kind == "peer" else lane.client

    def scenario(self, lane: Lane) -> bool:
        """Whether its calls are the user's own."""
        return bool(self.request.scenario) and lane.kind in ("backend", "twin")

    def rival(self, lane: Lane) -> str:
        """The client whose cells a lane's are compared with."""
        return self.request.clients[0] if lane.kind == "peer" else lane.client

    def measured(self, lane: Lane, window: pair.Window) -> Measured:
        """An empty cell of the lane."""
        cell = Measured(
            lane.backend,
            lane.client,
            window,
            workers=self.request.serving,
            backend=self.request.arm(lane.backend).backend,
            peer=lane.kind == "peer",
        )
        if cell.peer:
            cell.difference = str(self._peers[lane.backend].DIFFERENCE)
        return cell
