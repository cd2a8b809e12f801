"""The best of a search and the defaults once more: in each round each of them once, in fresh processes, in random order.

The search's own figures prove nothing: of many that are equal, the best is the one that had the most luck.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import numpy as np

from ..compare.run.measured import latency
from ..compare.statistics import inference
from ..compare.statistics.contrasts import Contrast, Rule, contrasts, judge, turned
from .measure import Failed, Seen, enough_for, held
from .request import TuneRequest
from .results import Figures, Finalist
from .settings import MARGIN, Settings

# The fewest rounds that can tell a difference of 10 % from noise, and the most that time is spent on.
FEWEST = 5
MOST = 30


class Rounds:
    """Of settings, the first of which are the defaults. `measure` raises Failed, as settings do that fail twice: they are out, with the
    reason in `failures`."""

    def __init__(
        self, request: TuneRequest, settings: Sequence[Settings], measure: Callable[[Settings], Seen]
    ) -> None:
        self.failures: list[str] = []
        self._request = request
        self._measure = measure
        self._chance = random.Random(request.seed)  # noqa: S311
        self._seen: dict[Settings, dict[int, Seen]] = {each: {} for each in settings}
        self._defaults = settings[0]

    @property
    def over(self) -> bool:
        """Whether nothing is left to be compared."""
        return self._defaults not in self._seen or len(self._seen) < 2

    def round(self, number: int) -> dict[Settings, Figures]:
        """One round of those that are not out."""
        order = list(self._seen)
        self._chance.shuffle(order)
        for settings in order:
            try:
                self._seen[settings][number] = self._tried(settings)
            except Failed as error:
                self.failures.append(f"{settings}: {error}")
                del self._seen[settings]
        return {settings: seen[number].figures for settings, seen in self._seen.items()}

    def _tried(self, settings: Settings) -> Seen:
        try:
            return self._measure(settings)
        except Failed:
            return self._measure(settings)

    def finalists(self) -> list[Finalist]:
        """What came of all whole rounds, the defaults first; empty where they are out."""
        if self._defaults not in self._seen:
            return []
        whole = set.intersection(*(set(seen) for seen in self._seen.values()))
        found = {
            settings: [seen[number] for number in sorted(whole)] for settings, seen in self._seen.items()
        }
        if not whole:
            return []
        finalists = [self._finalist(settings, seen) for settings, seen in found.items()]
        compare(finalists)
        return finalists

    def _finalist(self, settings: Settings, seen: Sequence[Seen]) -> Finalist:
        objective, rank = self._request.objective, self._request.rank
        responses = np.concatenate([each.responses for each in seen])
        value = getattr(latency(responses), rank)
        return Finalist(
            settings=settings,
            rounds=[each.figures for each in seen],
            throughput=inference.mean([each.figures.throughput for each in seen]),
            value=value,
            enough=enough_for(rank, len(responses)),
            held=held(objective, value),
            kept=sum(held(objective, getattr(each.figures.latency, rank)) for each in seen),
        )


def compare(finalists: Sequence[Finalist]) -> None:
    """Give each but the first its ratio to the first, by the rounds in which Little's law holds for both; the intervals hold together."""
    defaults, *others = finalists
    made: list[tuple[Finalist, Contrast]] = []
    for each in others:
        good = [(a, b) for a, b in zip(each.rounds, defaults.rounds, strict=True) if a.little and b.little]
        values = {
            "own": [own.throughput for own, _ in good],
            "defaults": [base.throughput for _, base in good],
        }
        for found in contrasts(values, larger_is_better=True):
            made.append((each, found if found.arm == "own" else turned(found)))
    # A difference within the margin is none to change settings for.
    rule = Rule(MARGIN, 1 + MARGIN)
    for (each, _), judged in zip(made, judge([found for _, found in made], rule), strict=True):
        each.ratio, each.interval = judged.ratio, (judged.low, judged.high)
        each.outcome = judged.outcome if judged.sure else "unclear"
