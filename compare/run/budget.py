"""How the time is spent: as many rounds as it holds, decided before they are measured and never by what they show.

Source: rule R4 of docs/comparison.md; to go on until a difference is significant finds one between equal servers in one run of five.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from ...errors import UsageError
from .lanes import Lanes
from .request import Lane, Request

# Rounds for which windows may grow, at the cost of further ones.
_AMPLE = 15

# Seconds for two processes to start, to run warm in each cell, and to stop: as long as that takes where much else runs, and the least that
# is reckoned with; and around each window, for the observer and for counting.
PAIR_SECONDS, LEAST_PAIR_SECONDS = 1.1, 0.5
CELL_SECONDS = 0.03
WARM_SECONDS = 0.03
# Seconds for statistics and outputs, of which a page takes most.
AFTER_SECONDS = 2.0
# The windows that a search takes at each of a dozen rates.
SEARCH_WINDOWS = 30
# The windows of the rehearsal for each ceiling, in a quick run fewer. In the rounds there is none, unless there is much time.
CEILING_WINDOWS, QUICK_CEILING_WINDOWS = 3, 2

# Seconds of a window of the sweep.
SWEEP_WARMUP, SWEEP_WINDOW = 0.04, 0.12

# How many mean times of a call a window holds, and to what part windows are shortened. The first where ample rounds fit; the others, one
# after another, before workloads are dropped.
_LONG = (30.0, 20.0)
_SHORTER = ((10.0, 1.0), (10.0, 0.8), (10.0, 0.6), (5.0, 0.6), (0.0, 0.6))


class Pace(NamedTuple):
    """Seconds that things take here, beside warm-ups and windows."""

    pair: float = PAIR_SECONDS
    cell: float = CELL_SECONDS


# That of a machine which does nothing else: what does not fit then fits nowhere.
_SWIFT = Pace(LEAST_PAIR_SECONDS)

# Of a lane, only its windows and what is around each.
NOTHING = Pace(0.0, CELL_SECONDS)


def windows(request: Request, lane: Lane, number: int) -> int:
    """How often each cell of a lane is measured in that round."""
    if lane.kind == "null":
        if number:
            return 1
        return QUICK_CEILING_WINDOWS if request.quick else CEILING_WINDOWS
    return SEARCH_WINDOWS if request.objective and number and lane.kind == "backend" else 1


def lane_seconds(request: Request, lane: Lane, pace: Pace, number: int = 1) -> float:
    """What a lane takes in that round, without a sweep."""
    cells = 0.0
    for job in lane.jobs:
        load = request.load(job, number)
        cells += load.warmup + load.window + pace.cell
    return pace.pair + windows(request, lane, number) * cells


def sweeps(request: Request, number: int) -> bool:
    """Whether there is a sweep in that round."""
    return number == 0 or request.thorough


def round_seconds(request: Request, lanes: Sequence[Lane], pace: Pace, number: int = 1) -> float:
    """What a round takes."""
    swept = [lane for lane in lanes if request.swept(lane)] if sweeps(request, number) else []
    sweep = len(swept) * len(request.sweep) * (SWEEP_WARMUP + SWEEP_WINDOW + CELL_SECONDS)
    return sweep + sum(lane_seconds(request, lane, pace, number) for lane in lanes)


class Spending(NamedTuple):
    """What is measured in the time that there is: nothing, where there are no rounds."""

    request: Request
    rounds: int


def spend(request: Request, lanes: Lanes, seconds: float, pace: Pace) -> Spending:
    """The most rounds that fit, up to those asked for. Where not even the fewest do: shorter windows, then fewer workloads; where one
    workload is too much, fewer rounds of it."""
    if request.fixed:
        return Spending(request, request.rounds)
    while True:
        a_round = lanes.of(request).round()
        for responses, shrink, least in _choices(request):
            tried = replace(
                request,
                window=request.window * shrink,
                warmup=request.warmup * shrink,
                responses=responses,
            )
            fit = int(seconds // round_seconds(tried, a_round, pace))
            if fit >= least:
                return Spending(tried, min(fit, request.rounds))
        fewer = request.without_last()
        if fewer is None:
            return Spending(tried, fit if fit > 1 else 0)
        request = fewer


def _choices(request: Request) -> list[tuple[float, float, int]]:
    """Responses in a window, its part, and for how many rounds there must be time to choose that."""
    ample, fewest = min(_AMPLE, request.rounds), min(request.fewest, request.rounds)
    return [
        *((responses, 1.0, ample) for responses in _LONG),
        *((responses, shrink, fewest) for responses, shrink in _SHORTER),
    ]


def affordable(request: Request) -> Request:
    """What of it fits its time together with its rehearsal, as far as can be told before anything runs: if need be without the sweep, and
    with fewer workloads. Raises UsageError where not even one fits."""
    while not request.fixed:
        lanes = Lanes(request)
        rehearsal = round_seconds(request, lanes.rehearsal(), _SWIFT, 0) + AFTER_SECONDS
        spent = spend(request, lanes, request.seconds - rehearsal, _SWIFT)
        least = min(request.fewest, request.rounds)
        if spent.rounds >= least and spent.request.dropped == request.dropped:
            break
        fewer = request.without_sweep() if request.sweep else request.without_last()
        if fewer is None:
            needed = rehearsal + least * round_seconds(spent.request, lanes.round(), _SWIFT)
            raise UsageError(
                f"{request.seconds:g} s are too few: {least} rounds of {request.workloads[0]} alone, with their rehearsal, take about "
                f"{needed:.0f} s; give them with --time"
            )
        request = fewer
    return request
