"""Contrasts of arms over rounds: each pair of a cell, judged together with all claims of the run.

Values in, values out. Measurements are positive and their noise is multiplicative, so all
statistics use logarithms. The direction of a contrast is such that a ratio above 1 is better,
whatever the figure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from itertools import combinations
from math import expm1, inf, sqrt
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from ..results import Outcome
from .inference import FURTHEST, NOTHING, levels, ratio

# Arms have no common variance if the standard deviation of one is _UNLIKE times that of another. A
# single arm with a wide scatter moves the mean of all; it shows in the differences of pairs, whose
# variances differ this much by chance with probability _CHANCE.
_UNLIKE = 3.0
_CHANCE = 0.003
_POWER = 0.8


class Contrast(NamedTuple):
    """`arm` compared with `against`, on logarithms.

    `change` is the log ratio, above 0 if `arm` is better; `error` its standard error, with
    `freedom` degrees of freedom. The cell has `arms` arms in `rounds` rounds. `pooled`: all arms of
    the cell share the error.
    """

    arm: str
    against: str
    change: float
    error: float
    freedom: float
    arms: int
    rounds: int
    pooled: bool

    @property
    def p(self) -> float:
        """The uncorrected p-value of the hypothesis that both are equal."""
        if self.error < NOTHING:
            return 1.0 if abs(self.change) < NOTHING else 0.0
        return float(2 * stats.t.sf(abs(self.change) / self.error, self.freedom))


class Judged(NamedTuple):
    """A contrast with its interval and outcome. A `sure` one holds together with all others of the
    run, any other within its cell."""

    contrast: Contrast
    ratio: float
    low: float
    high: float
    outcome: Outcome
    sure: bool
    detectable: float


def contrasts(values: Mapping[str, Sequence[float]], *, larger_is_better: bool) -> list[Contrast]:
    """All pairs of the arms of one cell, the better arm first; empty with fewer than two arms or
    rounds.

    `values` has one value for each round, by arm. The effect of a round on all arms is removed; the
    residuals give one variance for the cell, with (arms - 1) x (rounds - 1) degrees of freedom. If
    the arms' variances are unlike, each pair has its own. Raises ValueError if arms have different
    numbers of rounds, or a value is not positive. Source: the two-way layout without interaction,
    Scheffe 1959, The Analysis of Variance, chapter 4; with two arms it is the paired t test.
    """
    names = list(values)
    if len({len(each) for each in values.values()}) > 1:
        raise ValueError("all arms need the same number of rounds")
    if len(names) < 2 or len(values[names[0]]) < 2:
        return []
    table = np.asarray([values[name] for name in names], dtype=np.float64)
    if not (table > 0).all():
        raise ValueError("all values must be positive")
    logs = np.log(table) if larger_is_better else -np.log(table)
    arms, rounds = logs.shape
    beside = logs - logs.mean(axis=0)
    means = beside.mean(axis=1)
    rest = beside - means[:, None]
    freedom = (arms - 1) * (rounds - 1)
    error = sqrt(2 * float((rest**2).sum()) / freedom / rounds)
    places = list(combinations(np.argsort(-means, kind="stable").tolist(), 2))
    scatter = [float((logs[first] - logs[second]).std(ddof=1)) for first, second in places]
    pooled = _alike(rest, scatter)
    found = []
    for (first, second), own in zip(places, scatter, strict=True):
        found.append(
            Contrast(
                names[first],
                names[second],
                float(means[first] - means[second]),
                error if pooled else own / sqrt(rounds),
                freedom if pooled else rounds - 1,
                arms,
                rounds,
                pooled,
            )
        )
    return found


def unpaired(
    values: Sequence[float], against: Sequence[float], *, larger_is_better: bool
) -> Contrast:
    """The contrast of two arms measured in different rounds: at least two values of each, all
    positive.

    Source: Welch 1947, Biometrika 34(1-2), with Satterthwaite's degrees of freedom.
    """
    side = 1 if larger_is_better else -1
    logs = [side * np.log(values), side * np.log(against)]
    own = [float(each.var(ddof=1)) / len(each) for each in logs]
    shares = sum(part**2 / (len(each) - 1) for part, each in zip(own, logs, strict=True))
    rounds = min(len(values), len(against))
    freedom = sum(own) ** 2 / shares if shares else rounds - 1
    change = float(logs[0].mean() - logs[1].mean())
    return Contrast("values", "against", change, sqrt(sum(own)), freedom, 2, rounds, pooled=False)


def turned(contrast: Contrast) -> Contrast:
    """The contrast with its two arms exchanged."""
    return contrast._replace(arm=contrast.against, against=contrast.arm, change=-contrast.change)


class Rule(NamedTuple):
    """Arms are equal within the `margin` (0.05 is 5 %); a factor below `least` is not claimed."""

    margin: float = 0.05
    least: float = 1.0


def judge(
    found: Sequence[Contrast], rules: Sequence[Rule] | Rule, confidence: float = 0.95
) -> list[Judged]:
    """Judge all contrasts of one run, in the same order, with one rule for each or one for all.

    An outcome that holds at the contrast's level in Holm's procedure is sure; one that holds only
    among the arms of its cell is likely.
    Sources: Holm 1979, Scandinavian Journal of Statistics 6(2); Tukey 1953, The Problem of Multiple
    Comparisons; for the proof of equality, Schuirmann 1987, Journal of Pharmacokinetics 15(6).
    """
    each_has = [rules] * len(found) if isinstance(rules, Rule) else rules
    corrected = levels([each.p for each in found], confidence)
    return [
        _judged(each, level, rule, confidence)
        for each, level, rule in zip(found, corrected, each_has, strict=True)
    ]


def _judged(contrast: Contrast, level: float, rule: Rule, confidence: float) -> Judged:
    own = _within(contrast, confidence)
    seen = own + float(stats.t.ppf(_POWER, contrast.freedom))
    detectable = expm1(min(FURTHEST, seen * contrast.error))
    low, high, outcome = decided(contrast, level, rule)
    sure = outcome != "unclear"
    if not sure:
        low, high = _interval(contrast, own)
        outcome = _outcome(contrast.change, low, high, rule)
    return Judged(contrast, ratio(contrast.change), low, high, outcome, sure, detectable)


def decided(contrast: Contrast, level: float, rule: Rule) -> tuple[float, float, Outcome]:
    """The interval of the ratio at this confidence level, and its outcome."""
    low, high = _interval(contrast, float(stats.t.ppf((1 + level) / 2, contrast.freedom)))
    return low, high, _outcome(contrast.change, low, high, rule)


def _interval(contrast: Contrast, width: float) -> tuple[float, float]:
    """The interval of `width` standard errors to either side."""
    low, high = (ratio(contrast.change + side * width * contrast.error) for side in (-1, 1))
    return low, high


def _within(contrast: Contrast, confidence: float) -> float:
    """Half-width, in standard errors, of an interval that holds for all pairs of the cell
    together."""
    if contrast.pooled:
        return _tukey(contrast.arms, contrast.freedom, confidence)
    pairs = contrast.arms * (contrast.arms - 1) / 2
    return float(stats.t.ppf(1 - (1 - confidence) / 2 / pairs, contrast.freedom))


@cache
def _tukey(arms: int, freedom: float, confidence: float) -> float:
    return float(stats.studentized_range.ppf(confidence, arms, freedom)) / sqrt(2)


def _outcome(change: float, low: float, high: float, rule: Rule) -> Outcome:
    if low >= 1 / (1 + rule.margin) and high <= 1 + rule.margin:
        return "equal"
    if low > 1 and ratio(change) >= rule.least:
        return "better"
    return "worse" if high < 1 and ratio(change) <= 1 / rule.least else "unclear"


def furthest(low: float, high: float) -> float:
    """The largest difference within an interval: 0.05 is 5 %."""
    return max(high, 1 / low) - 1 if low > 0 else inf


def _alike(rest: NDArray[np.float64], pairs: Sequence[float]) -> bool:
    """Whether one variance describes all arms: by their residuals, and by the standard deviation of
    each pair's difference."""
    arms, rounds = rest.std(axis=1), rest.shape[1]
    if max(pairs) < NOTHING:
        return True
    return bool(arms.max() <= _UNLIKE * arms.min()) and max(pairs) <= _unlike(rounds) * min(pairs)


@cache
def _unlike(rounds: int) -> float:
    """The ratio of two pairs' standard deviations that equal ones exceed with probability
    _CHANCE."""
    return sqrt(float(stats.f.ppf(1 - _CHANCE, rounds - 1, rounds - 1)))
