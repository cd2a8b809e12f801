"""The results as data: these classes are the JSON of `--json`, schema 1. Fields may be added; none
changes.

Times are in seconds. `None` is a figure that could not be measured, or was not asked for.
"""

from __future__ import annotations

import msgspec

from ..compare.results import Environment, Interval, Latency, Outcome
from .settings import Settings

SCHEMA = 1


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """One window of `window` seconds. `client_busy` is the fraction of it in which the load
    generator was busy; `little` is whether Little's law holds in it."""

    throughput: float
    calls: int
    latency: Latency
    window: float
    client_busy: float | None
    little: bool


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """Settings tried `at` these seconds from the start: their figures, or why they `failed`.

    `held` is whether they met the objective.
    """

    number: int
    at: float
    settings: Settings
    figures: Figures | None = None
    held: bool = False
    failed: str = ""


class Finalist(msgspec.Struct, kw_only=True):
    """Settings that were measured again, and their figures in each round.

    `value` is the response time of the objective over all rounds, `enough` whether there were
    enough calls for it, and `kept` the number of rounds that met the objective. `ratio` is their
    calls/s relative to the defaults in the same rounds; the interval is corrected for all
    finalists.
    """

    settings: Settings
    rounds: list[Figures]
    throughput: float
    value: float | None
    enough: bool
    held: bool
    kept: int
    ratio: float | None = None
    interval: Interval | None = None
    outcome: Outcome | None = None


class TuneVerdict(msgspec.Struct, kw_only=True):
    """The `best` settings, None if none meet the objective; the reasons in words; and whether
    rounds have proved it (`shown`)."""

    best: Settings | None = None
    command: str = ""
    sentences: list[str] = []
    shown: bool = False


class Tuning(msgspec.Struct, kw_only=True):
    """A run. The first of `finalists` is the defaults."""

    schema: int = SCHEMA
    environment: Environment
    optuna: str
    command: str
    searched: str
    load: str
    objective: str | None
    placement: str
    seconds: float | None
    complete: bool = False
    trials: list[Trial] = []
    finalists: list[Finalist] = []
    failures: list[str] = []
    verdict: TuneVerdict = msgspec.field(default_factory=TuneVerdict)

    def json(self) -> bytes:
        """The results as indented JSON."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n"
