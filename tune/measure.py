"""Settings measured once: a server with them and a load generator, both fresh, a little to warm them, one window."""

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

# Seconds of the first calls, which find what is broken and how long calls take; then those in which a limit is learned.
_FIRST = 0.2
_WARM = 0.5

# Calls that wait for each other end in waves, so a window holds so many times what one takes; but no window is longer.
_RESPONSES = 10.0
_LONGEST = 3.0

# How far Little's law may be off, from empty to empty. Within a window it holds of calls that come and go evenly, as they do not where a
# limit is being learned.
_LITTLE = 0.01

# Of ranks, the part of all samples that lies below.
_PARTS = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p999": 0.999}


class Failed(Exception):
    """Settings that cannot be used. The text is one line that says why."""


class Seen(NamedTuple):
    """What is shown of a window, and the response times themselves."""

    figures: Figures
    responses: Floats


def measure(request: TuneRequest, settings: Settings, window: float) -> Seen:
    """At least so many seconds of calls. Raises Failed where a process did not live through them, or an answer was wrong or an error."""
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
    """Raises Failed for what no figure makes good."""
    if sample.wrong:
        raise Failed(f"{sample.wrong} wrong replies{f': {sample.why}' * bool(sample.why)}")
    if sample.errors:
        codes = ", ".join(f"{code} {many}" for code, many in sorted(sample.errors.items()))
        raise Failed(f"calls failed: {codes}")
    found = sample.consistency
    if found is not None and (found.lost_updates or found.duplicated_effects or found.stale_reads):
        raise Failed(
            f"the check at the end: {found.lost_updates} updates lost, {found.duplicated_effects} effects there twice, "
            f"{found.stale_reads} stale reads"
        )


def held(objective: Objective | None, value: float | None) -> bool:
    """Whether a response time is short enough."""
    return objective is None or (value is not None and value <= objective.seconds)


def enough_for(rank: str, samples: int) -> bool:
    """Whether so many response times are enough for that rank of them. A mean and a maximum are of any number."""
    return rank not in _PARTS or enough(samples, _PARTS[rank])
