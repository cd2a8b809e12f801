"""A/A control: an arm compared with itself, by each figure of the run's claims."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import exp, log
from typing import NamedTuple

from ..results import Round, Twin
from . import inference
from .figures import FIGURES, value

# Probability that a correct run reports a difference of an arm from itself, in any of its figures.
_ALPHA = 0.001


class ControlPair(NamedTuple):
    """A/A control: one cell of an arm, measured twice in a round, each time in its own
    processes."""

    workload: str
    client: str
    style: str
    own: Round
    again: Round


Cell = tuple[str, str, str]


def controls(
    pairs: Sequence[ControlPair], figures: Mapping[Cell, str], confidence: float
) -> list[Twin]:
    """One A/A control for each figure, over the cells (workload, client, style) compared by it.

    The round is the unit: its cells share their processes, so they make one value. The figures
    share the error probability equally (Bonferroni).
    """
    groups: dict[str, list[ControlPair]] = {}
    for each in pairs:
        figure = figures.get((each.workload, each.client, each.style))
        if figure is not None and each.own.little.ok and each.again.little.ok:
            groups.setdefault(figure, []).append(each)
    made = []
    for figure, group in groups.items():
        ratios = _ratios(group, figure)
        own = inference.interval(ratios, confidence)
        far = inference.interval(ratios, 1 - _ALPHA / len(groups))
        if own is None or far is None:
            continue
        made.append(
            Twin(
                figure=figure,
                ratio=inference.mean(ratios),
                low=own[0],
                high=own[1],
                rounds=len(ratios),
                ok=far[0] <= 1 + inference.NOTHING and far[1] >= 1 - inference.NOTHING,
            )
        )
    return made


def _ratios(group: Sequence[ControlPair], figure: str) -> list[float]:
    """One ratio for each round, above 1 if the first measurement was better."""
    side = 1 if FIGURES[figure].larger_is_better else -1
    rounds: dict[int, list[float]] = {}
    for each in group:
        own, again = value(figure, each.own), value(figure, each.again)
        if own and again:
            rounds.setdefault(each.own.round, []).append(side * log(own / again))
    return [exp(sum(logs) / len(logs)) for logs in rounds.values()]
