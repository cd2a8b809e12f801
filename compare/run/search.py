"""The highest rate of calls at which an objective for their response times still holds: by doubling, then by bisection.

Source: the exponential search of nighthawk, and the rule that two of three windows decide against one that was disturbed.
"""

from __future__ import annotations

import re
from collections.abc import Generator
from typing import NamedTuple

from ..results import Step
from .measured import Times, latency, rate
from .pair import Window

_FORM = re.compile(r"\s*(p50|p90|p99|p999|p99\.9|max|mean)\s*(?:=|<=?)\s*(\d+(?:\.\d+)?)\s*(us|µs|ms|s)\s*")
# Of times as people write them, in seconds.
UNITS = {"us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0}

# How near passes and fails come to each other, as a ratio.
_NEAR = 1.1
_LOWEST, _HIGHEST = 10.0, 1e7


class Objective(NamedTuple):
    """A response time, by its field in `results.Latency`, that must not be more than so many seconds."""

    rank: str
    seconds: float

    @classmethod
    def parse(cls, text: str) -> Objective:
        """`p99=20ms`. Raises ValueError, which says how it must look."""
        match = _FORM.fullmatch(text)
        if match is None:
            raise ValueError(f"bad objective {text!r}: it must look like p99=20ms")
        return cls(match[1].replace(".", ""), float(match[2]) * UNITS[match[3]])

    def tried(self, window: Window) -> Tried:
        """Whether it held in that window, and the server kept up with the calls."""
        sample = window.sample
        value = getattr(latency(Times.of(sample.timed).response), self.rank)
        held = value is not None and value <= self.seconds and not sample.errors and not sample.skipped
        return Tried(held and not rate([window]).overloaded, value)

    def __str__(self) -> str:
        return f"{self.rank} <= {self.seconds * 1000:g} ms"


class Tried(NamedTuple):
    """One window at some rate: whether the objective held and the server kept up, and the response time."""

    held: bool
    value: float | None


def search(start: float) -> Generator[float, Tried, tuple[float, float | None, list[Step]]]:
    """Yields the rate to try next, is sent what came of it, and returns the highest rate that passed (0: none), the lowest that failed.

    Begins at `start` calls/s, which should be well below what is expected.
    """
    steps: list[Step] = []
    passes, fails = 0.0, None
    rate = start
    while rate <= _HIGHEST and (fails is None or not passes or fails / passes > _NEAR):
        step = yield from _step(rate)
        steps.append(step)
        if 2 * step.passed > step.windows:
            passes = rate
        else:
            fails = rate
        if fails is None:
            rate *= 2
        elif not passes:
            if rate <= _LOWEST:
                break
            rate = max(_LOWEST, rate / 4)
        else:
            rate = (passes * fails) ** 0.5
    return passes, fails, steps


def _step(rate: float) -> Generator[float, Tried, Step]:
    """Two windows that agree, or the best of three."""
    held: list[bool] = []
    value: float | None = None
    while len(held) < 3 and not (len(held) == 2 and held[0] == held[1]):
        tried = yield rate
        held.append(tried.held)
        value = tried.value
    return Step(rate, len(held), sum(held), value)
