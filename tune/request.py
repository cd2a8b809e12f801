"""Make a request from the options of `ringback tune`, or refuse them in one line."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from importlib.util import find_spec

import typer

from .. import backends as installed
from ..compare import scenario
from ..compare.asking import available, chosen, require
from ..compare.load.plan import STYLES, LoadPlan, OfferedLoad
from ..compare.run import observe
from ..compare.run.pair import ANYWHERE, Placement
from ..compare.run.request import SCENARIO
from .objective import Objective
from .options import TuneOptions
from .space import Space

# Default seconds of a run.
_USUAL_SECONDS = 180.0

# An event loop with many connections costs the load generator less than threads.
_CLIENT = "asyncio"


@dataclass(frozen=True)
class TuneRequest:
    """A search to run. `trials` and `seconds` are its limits; None is no limit.

    The load is a closed loop of `concurrency` callers.
    """

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
        """The response time to show: the objective's, or p99."""
        return self.objective.rank if self.objective else "p99"

    def load(self, warmup: float, window: float) -> OfferedLoad:
        """The load of one measurement."""
        return OfferedLoad(SCENARIO, self.style, self.concurrency, warmup, window)

    @property
    def plan(self) -> LoadPlan:
        """The load generator's plan."""
        return LoadPlan(
            client=_CLIENT,
            cpu_steps=0,  # for a workload that is not used here
            # As in a comparison: a call waits for all calls before it.
            timeout=10.0 + self.concurrency * 0.01,
            max_callers=self.concurrency,
            scenario=self.scenario,
            connections=self.connections,
        )

    def __str__(self) -> str:
        many = "" if self.connections == 1 else "s"
        kept = f"; objective {self.objective}" if self.objective else ""
        return (
            f"{self.concurrency} callers on {self.connections} connection{many}, {self.style}, "
            f"{_CLIENT} client"
            f"{kept}"
        )


def request_of(asked: TuneOptions) -> TuneRequest:
    """The request of these options. Raises UsageError or typer.BadParameter for wrong ones."""
    if asked.scenario is None:
        raise typer.BadParameter(
            "a scenario is needed: a function that yields the calls", param_hint="--scenario"
        )
    backends = chosen("--backend", asked.backend, installed.names(), available())
    for backend in backends:
        require("backend", backend)
    scenario.load(asked.scenario)
    processes = asked.max_processes or len(observe.processors())
    return TuneRequest(
        service=asked.service,
        scenario=asked.scenario,
        space=Space(backends, find_spec("uvloop") is not None, processes),
        objective=_objective(asked),
        style=chosen("--style", [asked.style], STYLES)[0],
        concurrency=asked.concurrency,
        connections=min(asked.connections, asked.concurrency),
        trials=asked.trials,
        seconds=asked.time or (None if asked.trials else _USUAL_SECONDS),
        seed=secrets.randbelow(2**32) if asked.seed is None else asked.seed,
        placement=placement(processes),
    )


def _objective(asked: TuneOptions) -> Objective | None:
    try:
        return None if asked.slo is None else Objective.parse(asked.slo)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--slo") from None


def placement(processes: int) -> Placement:
    """Separate processors for servers and load generator, if each of at most `processes` server
    processes then has one. Else all use all processors, so that pinning limits no settings."""
    apart = Placement.halves()
    return apart if processes <= len(apart.server) else ANYWHERE
