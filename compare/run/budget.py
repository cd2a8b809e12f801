"""How the time is spent: so many rounds, and in each so many units of each cell, decided before they are measured and never by what they
show.

Source: rule R4 of docs/comparison.md; to go on until a difference is significant finds one between equal servers in one run of five.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from ...errors import UsageError
from .request import CellJob, CompareRequest
from .treatments import Treatment, treatments

# Seconds for a pair of processes to start, beside others, to run warm in each cell, and to stop: as long as that takes where much else
# runs, and the least that is reckoned with; and around each slice, for what is still in flight and for counting.
PAIR_SECONDS, LEAST_PAIR_SECONDS = 0.9, 0.4
SLICE_SECONDS = 0.015
# Seconds for statistics and outputs, of which a page takes most.
AFTER_SECONDS = 3.0
# A round in which that long is measured is worth its start.
_ROUND_SECONDS = 20.0


class Pace(NamedTuple):
    """Seconds that things take here, beside slices."""

    pair: float = PAIR_SECONDS
    slice: float = SLICE_SECONDS


# That of a machine which does nothing else: what does not fit then fits nowhere.
_SWIFT = Pace(LEAST_PAIR_SECONDS)


def round_seconds(
    request: CompareRequest,
    found: Sequence[Treatment],
    pace: Pace,
    units: Mapping[CellJob, int],
    number: int = 1,
) -> float:
    """What a round takes, with so many units of each cell: in each every treatment has two slices; one of those
    that are long, and in the calibration."""
    total = pace.pair * len({treatment.server for treatment in found})
    for treatment in found:
        for job in treatment.jobs:
            load = request.load(job, number)
            often = (1 if load.long else 2) * units[job] if number else 1
            total += often * (load.window + pace.slice)
    return total


def a_round(request: CompareRequest, failed: Collection[Treatment] = ()) -> list[Treatment]:
    """Such treatments as each round has, whichever arm is there twice."""
    there = treatments(request, failed)
    return treatments(request, failed, control=there[0].arm if there else None)


def calibration_seconds(request: CompareRequest, pace: Pace) -> float:
    """What comes before the rounds, and after them."""
    return round_seconds(request, treatments(request), pace, {}, 0) + AFTER_SECONDS


def spend(
    request: CompareRequest, seconds: float, pace: Pace, failed: Collection[Treatment] = ()
) -> CompareRequest:
    """What is measured in that time: as many rounds as are asked for, with as many units as fit; if need be fewer rounds, then fewer
    workloads, then nothing, in no round."""
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
            return replace(request, units=_units(request, found, pace, seconds / rounds), rounds=rounds)
        fewer = request.without_last()
        if fewer is None:
            return replace(request, units=ones, rounds=fit if fit > 1 else 0)
        request = fewer


def _units(
    request: CompareRequest, found: Sequence[Treatment], pace: Pace, seconds: float
) -> dict[CellJob, int]:
    """So many of each that a round takes so long, in the proportion of their weights, which become whole numbers one after another."""
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
    """What of it fits its time together with its calibration, as far as can be told before anything runs: if need be with fewer workloads.
    Raises UsageError where not even one fits."""
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
                f"{request.seconds:g} s are too few: {least} rounds of {request.workloads[0]} alone, with their calibration, take about "
                f"{needed:.0f} s; give them with --time"
            )
        request = fewer
    return request
