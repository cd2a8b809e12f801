"""The outcome as data: these classes are what `--json` writes, schema 1. Fields may be added; one that is there keeps its meaning.

Times are in seconds. A `None` is what could not be measured, or was not asked for.
"""

from __future__ import annotations

import msgspec

from ..compare.results import Environment, Interval, Latency, Outcome
from .settings import Settings

SCHEMA = 1


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """One window of `window` seconds. `client_busy` is the part of it in which the load generator had no processor to spare; `little`,
    whether Little's law holds in it."""

    throughput: float
    calls: int
    latency: Latency
    window: float
    client_busy: float | None
    little: bool


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """Settings that were tried `at` so many seconds: what was measured, or why nothing was. `held` is whether the objective was kept."""

    number: int
    at: float
    settings: Settings
    figures: Figures | None = None
    held: bool = False
    failed: str = ""


class Finalist(msgspec.Struct, kw_only=True):
    """Settings that were measured again, and their figures of each round. `value` is the response time of the objective, of all rounds
    together, `enough` whether there were calls enough to tell it, and `kept` the rounds in which it was short enough.

    `ratio` is their calls/s to those of the defaults, round by round; the interval is corrected for all finalists.
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
    """The settings to use, None where none keep the objective; why, in words; and whether that was shown in rounds."""

    best: Settings | None = None
    command: str = ""
    sentences: list[str] = []
    shown: bool = False


class Tuning(msgspec.Struct, kw_only=True):
    """A run. `finalists` has the defaults first."""

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
        """As a file."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n"
