"""Simulated runs: what the statistics of a comparison claim of servers of which the truth is known."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from . import inference

Noise = Literal["normal", "heavy"]

# The scatter of a window, of a round (which all backends share), and of the windows that a neighbour hits, one in ten.
_OWN, _SHARED, _HIT = 0.03, 0.05, 0.15
_HITS = 0.1

_SERVERS = 4
_ALPHA = 0.05


def false_claims(runs: int, rounds: int, noise: Noise, seed: int) -> float:
    """The part of simulated runs that calls any of four equal servers different from the best, by chance alone; no margin helps."""
    return float(np.mean([bool(_worse(run)) for run in _values(runs, rounds, noise, seed)]))


def found(runs: int, rounds: int, noise: Noise, slowdown: float, seed: int) -> float:
    """The part of simulated runs in which a server that is slower by that much (0.1 is 10 %) is found to be, among three that are not."""
    values = _values(runs, rounds, noise, seed)
    values[:, 0] *= 1 - slowdown
    return float(np.mean([0 in _worse(run) for run in values]))


def _worse(run: NDArray[np.float64]) -> set[int]:
    """The servers of one run that are called worse than its best."""
    claims = inference.pairs({str(server): values.tolist() for server, values in enumerate(run)})
    rejected = inference.holm([claim.p for claim in claims])
    return {int(claim.name) for claim, p in zip(claims, rejected, strict=True) if claim.shown and p < _ALPHA}


def _values(runs: int, rounds: int, noise: Noise, seed: int) -> NDArray[np.float64]:
    """Throughputs: runs x servers x rounds."""
    chance = np.random.default_rng(seed)
    logs = chance.normal(0, _OWN, (runs, _SERVERS, rounds)) + chance.normal(0, _SHARED, (runs, 1, rounds))
    if noise == "heavy":
        logs -= np.abs(chance.normal(0, _HIT, logs.shape)) * (chance.random(logs.shape) < _HITS)
    made: NDArray[np.float64] = np.exp(logs)
    return made
