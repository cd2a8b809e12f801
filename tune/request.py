"""What is to be searched, made of what a person asks `ringback tune` for, or refused in one line."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec

import typer

from .. import backends as installed
from ..compare import scenario
from ..compare.load.plan import STYLES, LoadPlan, OfferedLoad
from ..compare.options import available, chosen, require
from ..compare.run import observe
from ..compare.run.pair import ANYWHERE, Placement
from ..compare.run.request import SCENARIO
from .objective import Objective
from .space import Space

# Seconds of a run where nothing is said.
_USUAL_SECONDS = 180.0

# A loop with many connections costs the load generator less than threads do.
_CLIENT = "asyncio"


@dataclass(frozen=True)
class TuneRequest:
    """`trials` and `seconds` are bounds, None where there is none. The load is a closed loop of `concurrency` callers."""

    service: str
    scenario: str
    space: Space
    objective: Objective | None
    style: str
    concurrency: int
    connections: int
    trials: int | None
    seconds: float | None
    seed: int
    placement: Placement

    @property
    def rank(self) -> str:
        """The response time that is shown."""
        return self.objective.rank if self.objective else "p99"

    def load(self, warmup: float, window: float) -> OfferedLoad:
        """The calls of one measurement."""
        return OfferedLoad(SCENARIO, self.style, self.concurrency, warmup, window)

    @property
    def plan(self) -> LoadPlan:
        """How the load generator makes them."""
        return LoadPlan(
            client=_CLIENT,
            cpu_steps=0,  # of a workload that is not called here
            # As in a comparison: a call waits for all that are before it.
            timeout=10.0 + self.concurrency * 0.01,
            max_callers=self.concurrency,
            scenario=self.scenario,
            connections=self.connections,
        )

    def __str__(self) -> str:
        many = "" if self.connections == 1 else "s"
        kept = f"; objective {self.objective}" if self.objective else ""
        return (
            f"{self.concurrency} callers on {self.connections} connection{many}, {self.style}, {_CLIENT} client"
            f"{kept}"
        )


@dataclass(frozen=True)
class TuneOptions:
    """As they were given; empty lists and None stand for the defaults."""

    service: str
    scenario: str
    slo: str | None = None
    backends: Sequence[str] = ()
    max_processes: int | None = None
    style: str = STYLES[0]
    concurrency: int = 64
    connections: int = 8
    trials: int | None = None
    time: float | None = None
    seed: int | None = None

    def request(self) -> TuneRequest:
        """Raises UsageError or typer.BadParameter that says what is wrong with them."""
        backends = chosen("--backend", self.backends, installed.names(), available())
        for backend in backends:
            require("backend", backend)
        scenario.load(self.scenario)
        processes = self.max_processes or len(observe.processors())
        return TuneRequest(
            service=self.service,
            scenario=self.scenario,
            space=Space(backends, find_spec("uvloop") is not None, processes),
            objective=self._objective(),
            style=chosen("--style", [self.style], STYLES)[0],
            concurrency=self.concurrency,
            connections=min(self.connections, self.concurrency),
            trials=self.trials,
            seconds=self.time or (None if self.trials else _USUAL_SECONDS),
            seed=secrets.randbelow(2**32) if self.seed is None else self.seed,
            placement=placement(processes),
        )

    def _objective(self) -> Objective | None:
        try:
            return None if self.slo is None else Objective.parse(self.slo)
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint="--slo") from None


def placement(processes: int) -> Placement:
    """Where servers and load generator run: apart, if every server has a processor for each of its processes then. Else all of them have
    all processors, so that no settings are held back by where they were put."""
    apart = Placement.halves()
    return apart if processes <= len(apart.server) else ANYWHERE
