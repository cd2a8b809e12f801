"""The time budget: the number of rounds, and of units of each cell in a round.

Both are fixed before the rounds and never depend on their figures: a run that continues until a
difference is significant finds one between equal servers in one run of five.
Source: rule R4 of docs/comparison.md.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from ...errors import UsageError
from .request import CellJob, CompareRequest
from .treatments import Treatment, treatments

# Seconds for a pair of processes to start, beside others, to warm up in each cell, and to stop: on
# a loaded machine, and the least that the budget assumes. Then seconds around each slice, to drain
# its calls in flight and to count.
PAIR_SECONDS, LEAST_PAIR_SECONDS = 0.9, 0.4
SLICE_SECONDS = 0.015
# Seconds for statistics and outputs; the HTML page takes most of them.
AFTER_SECONDS = 3.0
# Seconds of measurement that are worth the start-up of a round.
_ROUND_SECONDS = 20.0


class Pace(NamedTuple):
    """Overhead on this machine in seconds: for each pair of processes, and for each slice."""

    pair: float = PAIR_SECONDS
    slice: float = SLICE_SECONDS


# On an idle machine: a run that does not fit at this pace fits nowhere.
_SWIFT = Pace(LEAST_PAIR_SECONDS)


def round_seconds(
    request: CompareRequest,
    found: Sequence[Treatment],
    pace: Pace,
    units: Mapping[CellJob, int],
    number: int = 1,
) -> float:
    """Seconds of round `number` with these units of each cell.

    Each treatment has two slices in a unit, but one if slices are long, and one in the calibration
    (round 0).
    """
    total = pace.pair * len({treatment.server for treatment in found})
    for treatment in found:
        for job in treatment.jobs:
            load = request.load(job, number)
            often = (1 if load.long else 2) * units[job] if number else 1
            total += often * (load.window + pace.slice)
    return total


def a_round(request: CompareRequest, failed: Collection[Treatment] = ()) -> list[Treatment]:
    """The treatments of a round, with some arm as A/A control: for the time that a round takes."""
    there = treatments(request, failed)
    return treatments(request, failed, control=there[0].arm if there else None)


def calibration_seconds(request: CompareRequest, pace: Pace) -> float:
    """Seconds of the calibration, and of statistics and outputs after the rounds."""
    return round_seconds(request, treatments(request), pace, {}, 0) + AFTER_SECONDS


def spend(
    request: CompareRequest, seconds: float, pace: Pace, failed: Collection[Treatment] = ()
) -> CompareRequest:
    """The request with rounds, units and workloads that fit in these seconds.

    It keeps the rounds asked for, with as many units as fit; if necessary it has fewer rounds, then
    fewer workloads, and at last no rounds.
    """
    if request.fixed:
        return replace(request, units={job: request.weight(job) for job in request.jobs})
    while True:
        found = a_round(request, failed)
        ones = {job: 1 for treatment in found for job in treatment.jobs}
        least = round_seconds(request, found, pace, ones)
        fewest = min(request.fewest, request.rounds)
        wanted = max(fewest, min(request.rounds, round(seconds / _ROUND_SECONDS)))
        fit = int(seconds // least)
        if fit >= fewest:
            rounds = min(wanted, fit)
            return replace(
                request, units=_units(request, found, pace, seconds / rounds), rounds=rounds
            )
        fewer = request.without_last()
        if fewer is None:
            return replace(request, units=ones, rounds=fit if fit > 1 else 0)
        request = fewer


def _units(
    request: CompareRequest, found: Sequence[Treatment], pace: Pace, seconds: float
) -> dict[CellJob, int]:
    """Units of each cell for a round of these seconds, in proportion to their weights.

    Cells are rounded up at different scales, so that units grow one cell at a time.
    """
    jobs = dict.fromkeys(job for treatment in found for job in treatment.jobs)
    low, high = 0.0, 64.0
    units = dict.fromkeys(jobs, 1)
    for _ in range(24):
        scale = (low + high) / 2
        tried = {
            job: max(1, int(request.weight(job) * scale + place / len(jobs)))
            for place, job in enumerate(jobs)
        }
        if round_seconds(request, found, pace, tried) <= seconds:
            low, units = scale, tried
        else:
            high = scale
    return units


def affordable(request: CompareRequest) -> CompareRequest:
    """The request with the workloads that fit in its time, calibration included, on an idle
    machine.

    Raises UsageError if not even one workload fits.
    """
    while not request.fixed:
        before = calibration_seconds(request, _SWIFT)
        spent = spend(request, request.seconds - before, _SWIFT)
        least = min(request.fewest, request.rounds)
        if spent.rounds >= least and spent.dropped == request.dropped:
            break
        fewer = request.without_last()
        if fewer is None:
            ones = dict.fromkeys(request.jobs, 1)
            needed = before + least * round_seconds(spent, a_round(request), _SWIFT, ones)
            raise UsageError(
                f"{request.seconds:g} s are too few: {least} rounds of {request.workloads[0]} "
                f"alone, with their "
                f"calibration, take about {needed:.0f} s. Use --time {needed:.0f} or more"
            )
        request = fewer
    return request
