"""Measure settings once: a fresh server with them, a fresh load generator, a warm-up, one
window."""

from __future__ import annotations

from typing import NamedTuple

from ..compare.load.sample import Sample
from ..compare.run.measured import Floats, Times, enough, latency, round_of
from ..compare.run.pair import alone
from ..compare.run.processes import ChildFailed
from .objective import Objective
from .request import TuneRequest
from .results import Figures
from .settings import Settings

# Seconds of the first calls, which show errors and response times; then minimum seconds of warm-up,
# in which an adaptive limit is learned.
_FIRST = 0.2
_WARM = 0.5

# Calls that queue end in waves, so a window is at least _RESPONSES response times long, but at most
# _LONGEST seconds.
_RESPONSES = 10.0
_LONGEST = 3.0

# Allowed deviation from Little's law, over a slice that begins and ends without calls in flight.
# Within a window the law needs a steady load, which an adaptive limit does not give while it
# learns.
_LITTLE = 0.01

# By rank: the fraction of samples below it.
_PARTS = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p999": 0.999}


class Failed(Exception):
    """The settings do not work. The text is one line with the reason."""


class Seen(NamedTuple):
    """The figures of a window, and its response times in seconds."""

    figures: Figures
    responses: Floats


def measure(request: TuneRequest, settings: Settings, window: float) -> Seen:
    """Measure the settings with a window of at least these seconds.

    Raises Failed if a process ends, a reply is wrong, or a call fails.
    """
    try:
        with alone(settings.server(request.service), request.plan, request.placement) as pair:
            first = pair.measure(request.load(0.0, _FIRST))
            _check(first.sample)
            takes = min(_LONGEST, request.concurrency * _FIRST / max(1, first.sample.calls))
            long = min(_LONGEST, max(window, _RESPONSES * takes))
            found = pair.measure(request.load(max(_WARM, takes), long))
    except ChildFailed as error:
        raise Failed(str(error)) from None
    _check(found.sample)
    if not found.sample.calls:
        raise Failed(f"no call was answered within {long:.1f} s")
    times = Times.of([found])
    made = round_of(0, 0.0, [found])
    figures = Figures(
        throughput=made.throughput,
        calls=made.calls,
        latency=latency(times.response),
        window=long,
        client_busy=made.cpu.client_busy,
        little=made.little.whole is None or abs(made.little.whole - 1) <= _LITTLE,
    )
    return Seen(figures, times.response)


def _check(sample: Sample) -> None:
    """Raises Failed for wrong replies, errors and inconsistencies."""
    if sample.wrong:
        raise Failed(f"{sample.wrong} wrong replies{f': {sample.why}' * bool(sample.why)}")
    if sample.errors:
        codes = ", ".join(f"{many} {code}" for code, many in sorted(sample.errors.items()))
        raise Failed(f"calls failed: {codes}")
    found = sample.consistency
    if found is not None and (found.lost_updates or found.duplicated_effects or found.stale_reads):
        raise Failed(
            f"the check at the end found {found.lost_updates} lost updates, "
            f"{found.duplicated_effects} duplicated "
            f"effects, {found.stale_reads} stale reads"
        )


def held(objective: Objective | None, value: float | None) -> bool:
    """Whether a response time meets the objective."""
    return objective is None or (value is not None and value <= objective.seconds)


def enough_for(rank: str, samples: int) -> bool:
    """Whether there are enough samples for this rank. A mean and a maximum need no minimum."""
    return rank not in _PARTS or enough(samples, _PARTS[rank])
