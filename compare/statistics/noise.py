"""The control: an arm beside itself, in the figures that the run makes claims of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import exp, log
from typing import NamedTuple

from ..results import Round, Twin
from . import inference
from .contrasts import contrasts, interval_of, turned
from .figures import FIGURES, value

# A run in which nothing is wrong says this rarely that an arm differs from itself, for all of its figures together.
_ALPHA = 0.001


class Doubled(NamedTuple):
    """One cell of one arm, measured twice in the same round, each time in processes of its own."""

    workload: str
    client: str
    style: str
    own: Round
    again: Round


Cell = tuple[str, str, str]


def twins(doubled: Sequence[Doubled], figures: Mapping[Cell, str], confidence: float) -> list[Twin]:
    """One for each figure, of the cells (workload, client, style) that are compared by it.

    The round is the unit: its cells, which share their processes, are one value together.
    """
    groups: dict[str, list[Doubled]] = {}
    for each in doubled:
        figure = figures.get((each.workload, each.client, each.style))
        if figure is not None and each.own.little.ok and each.again.little.ok:
            groups.setdefault(figure, []).append(each)
    found = {}
    for figure, group in groups.items():
        means = _ratios(group, figure)
        for contrast in contrasts({"own": means, "again": [1.0] * len(means)}, larger_is_better=True):
            found[figure] = contrast if contrast.arm == "own" else turned(contrast)
    adjusted = inference.holm([each.p for each in found.values()])
    made = []
    for (figure, contrast), p in zip(found.items(), adjusted, strict=True):
        low, high = interval_of(contrast, confidence)
        made.append(
            Twin(
                workload=_names(each.workload for each in groups[figure]),
                client=_names(each.client for each in groups[figure]),
                style=_names(each.style for each in groups[figure]),
                figure=figure,
                ratio=inference.ratio(contrast.change),
                low=low,
                high=high,
                rounds=contrast.rounds,
                ok=p >= _ALPHA,
            )
        )
    return made


def _ratios(group: Sequence[Doubled], figure: str) -> list[float]:
    """One for each round, above 1 where the first did better."""
    side = 1 if FIGURES[figure].larger_is_better else -1
    rounds: dict[int, list[float]] = {}
    for each in group:
        own, again = value(figure, each.own), value(figure, each.again)
        if own and again:
            rounds.setdefault(each.own.round, []).append(side * log(own / again))
    return [exp(sum(logs) / len(logs)) for logs in rounds.values()]


def _names(found: Iterable[str]) -> str:
    return ", ".join(sorted(set(found)))
