"""Simulated runs: what a comparison claims of servers of which the truth is known, on a machine
like the shared ones that people have.

Its processors run at one of two speeds, as a neighbour works or rests, and change in a fraction of
a second; now and then all stands still
for a moment; and every process is by chance a little faster or slower than the next one of the same
program.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from ringback.compare.run.measured import level_beside
from ringback.compare.statistics.contrasts import Rule, contrasts, judge

# Seconds of a slice, and until the next.
_SLICE, _STEP = 0.025, 0.035
# How much slower the machine is while a neighbour works; the median of how long either lasts, in
# seconds, and the spread of its logarithm.
_SLOW, _DWELL, _SPREAD = 1 / 1.75, 0.3, 1.0
# Stalls a second, each of so many seconds at least, by a Pareto law of this exponent.
_STALLS, _STALL, _PARETO = 0.3, 0.01, 1.5
# The spread of processes, and of slices.
_PROCESS, _OWN = 0.02, 0.02

_SERVERS = 4
_UNITS = 5

# No margin helps: what is shown at all counts.
_ANY = Rule(margin=0.0)


def false_claims(runs: int, rounds: int, seed: int) -> float:
    """The part of simulated runs that is sure of a difference between any two of four equal
    servers, by chance alone.
    """
    chance = np.random.default_rng(seed)
    return float(np.mean([bool(_worse(_values(rounds, chance))) for _ in range(runs)]))


def found(runs: int, rounds: int, slowdown: float, seed: int) -> float:
    """The part of simulated runs in which a server that is slower by that much (0.1 is 10 %) is
    surely worse than another, of three that
    are not."""
    chance = np.random.default_rng(seed)
    return float(np.mean([0 in _worse(_values(rounds, chance, slowdown)) for _ in range(runs)]))


def _worse(values: dict[str, list[float]]) -> set[int]:
    """The servers of one run that are surely worse than another."""
    claims = judge(contrasts(values, larger_is_better=True), _ANY)
    return {int(each.contrast.against) for each in claims if each.sure and each.outcome == "better"}


def _values(
    rounds: int, chance: np.random.Generator, slowdown: float = 0.0
) -> dict[str, list[float]]:
    """Throughputs by server and round, of which the first server is the slower one."""
    values: dict[str, list[float]] = {str(server): [] for server in range(_SERVERS)}
    for _ in range(rounds):
        process = chance.normal(0, _PROCESS, _SERVERS)
        process[0] += np.log1p(-slowdown)
        orders = np.array([chance.permutation(_SERVERS) for _ in range(_UNITS)])
        turns = np.concatenate([orders, orders[:, ::-1]], axis=1)
        speeds = _speeds(turns.size, chance).reshape(turns.shape)
        logs = np.log(speeds) + process[turns] + chance.normal(0, _OWN, turns.shape)
        units = [
            {str(server): float(row[turn == server].mean()) for server in range(_SERVERS)}
            for row, turn in zip(logs, turns, strict=True)
        ]
        for server, value in level_beside(units).items():
            values[server].append(value)
    return values


def _speeds(slices: int, chance: np.random.Generator) -> NDArray[np.float64]:
    """How fast the machine was in each of so many slices, one after another."""
    end = slices * _STEP + 1.0
    dwells = chance.lognormal(np.log(_DWELL), _SPREAD, int(end / _DWELL * 3) + 20)
    edges = np.concatenate([[0.0], np.cumsum(dwells)])
    slow = (np.arange(len(dwells)) + chance.integers(2)) % 2
    work = np.concatenate([[0.0], np.cumsum(dwells * np.where(slow, _SLOW, 1.0))])
    begins = np.arange(slices) * _STEP
    done = np.interp(begins + _SLICE, edges, work) - np.interp(begins, edges, work)
    stalls = chance.uniform(0, end, chance.poisson(_STALLS * end))
    for begin, seconds in zip(
        stalls, _STALL * (1 + chance.pareto(_PARETO, len(stalls))), strict=True
    ):
        lost = np.clip(
            np.minimum(begins + _SLICE, begin + seconds) - np.maximum(begins, begin), 0, None
        )
        done = np.maximum(done - lost, 0.02 * _SLICE)
    speeds: NDArray[np.float64] = done / _SLICE
    return speeds
