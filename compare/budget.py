"""How the time is spent: as many rounds as it holds, decided before they are measured and never by what they show.

Source: rule R4 of docs/comparison.md; to go on until a difference is significant finds one between equal servers in one run of five.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from .request import Job, Lane, Request

# The fewest rounds that can tell a difference of 10 % from noise.
FEWEST = 5

# Seconds for two processes to start, to run warm in each cell, and to stop; and around each window, for the observer and for counting.
PAIR_SECONDS = 1.1
CELL_SECONDS = 0.03
WARM_SECONDS = 0.03
# Seconds for statistics and outputs.
AFTER_SECONDS = 3.0
# The windows that a search takes at each of a dozen rates.
SEARCH_WINDOWS = 30

# Windows are shortened to this part before workloads are dropped.
_SHORTEST = 0.6


class Pace(NamedTuple):
    """Seconds that things take here, beside warm-ups and windows."""

    pair: float = PAIR_SECONDS
    cell: float = CELL_SECONDS


# Of a lane, only its windows and what is around each.
NOTHING = Pace(0.0, CELL_SECONDS)


def lane_seconds(request: Request, lane: Lane, pace: Pace, number: int = 1) -> float:
    """What a lane takes in that round."""
    windows = SEARCH_WINDOWS if request.objective and number else 1
    cells = 0.0
    for job in lane.jobs:
        load = request.load(job, number)
        cells += windows * (load.warmup + load.window + pace.cell)
    return pace.pair + cells


def round_seconds(request: Request, lanes: list[Lane], pace: Pace, number: int = 1) -> float:
    """What a round takes."""
    return sum(lane_seconds(request, lane, pace, number) for lane in lanes)


class Spending(NamedTuple):
    """What is measured in the time that there is."""

    request: Request
    rounds: int
    dropped: list[str]


def spend(request: Request, lanes: list[Lane], seconds: float, pace: Pace) -> Spending:
    """The most rounds that fit, up to those asked for. Where not even `FEWEST` do: shorter windows, then fewer workloads."""
    if request.fixed:
        return Spending(request, request.rounds, [])
    dropped: list[str] = []
    least = min(FEWEST, request.rounds)
    while True:
        for shrink in (1.0, 0.8, _SHORTEST):
            tried = replace(request, window=request.window * shrink, warmup=request.warmup * shrink)
            fit = int(seconds // round_seconds(tried, lanes, pace))
            if fit >= least:
                return Spending(tried, min(fit, request.rounds), dropped)
        fewer = request.without_last()
        if fewer is None:
            return Spending(tried, least, dropped)
        dropped.insert(0, request.workloads[-1])
        request = fewer
        lanes = [lane._replace(jobs=_kept(lane.jobs, request)) for lane in lanes]


def _kept(jobs: tuple[Job, ...], request: Request) -> tuple[Job, ...]:
    return tuple(job for job in jobs if job.workload in request.workloads)
