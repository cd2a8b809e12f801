"""Measure the best settings of a search and the defaults again: each once in a round, in fresh
processes, in random order.

The figures of the search prove nothing: among many equal settings the best is the luckiest.
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

# Minimum rounds, which can distinguish a difference of 10 % from noise, and maximum rounds.
FEWEST = 5
MOST = 30


class Rounds:
    """The rounds of some settings; the first settings are the defaults.

    `measure` may raise Failed. Settings that fail twice in a round are dropped, with the reason in
    `failures`.
    """

    def __init__(
        self,
        request: TuneRequest,
        settings: Sequence[Settings],
        measure: Callable[[Settings], Seen],
    ) -> None:
        self.failures: list[str] = []
        self._request = request
        self._measure = measure
        self._chance = random.Random(request.seed)  # noqa: S311
        self._seen: dict[Settings, dict[int, Seen]] = {each: {} for each in settings}
        self._defaults = settings[0]

    @property
    def over(self) -> bool:
        """Whether nothing is left to compare."""
        return self._defaults not in self._seen or len(self._seen) < 2

    def round(self, number: int) -> dict[Settings, Figures]:
        """Measure one round of the settings that were not dropped."""
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
        """The figures of all complete rounds, the defaults first; empty if the defaults failed."""
        if self._defaults not in self._seen:
            return []
        whole = set.intersection(*(set(seen) for seen in self._seen.values()))
        found = {
            settings: [seen[number] for number in sorted(whole)]
            for settings, seen in self._seen.items()
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
    """Set the ratio of each finalist to the first, over rounds in which Little's law holds for
    both.

    The intervals hold together.
    """
    defaults, *others = finalists
    made: list[tuple[Finalist, Contrast]] = []
    for each in others:
        good = [
            (a, b)
            for a, b in zip(each.rounds, defaults.rounds, strict=True)
            if a.little and b.little
        ]
        values = {
            "own": [own.throughput for own, _ in good],
            "defaults": [base.throughput for _, base in good],
        }
        for found in contrasts(values, larger_is_better=True):
            made.append((each, found if found.arm == "own" else turned(found)))
    # A difference within the margin is no reason to change settings.
    rule = Rule(MARGIN, 1 + MARGIN)
    for (each, _), judged in zip(made, judge([found for _, found in made], rule), strict=True):
        each.ratio, each.interval = judged.ratio, (judged.low, judged.high)
        each.outcome = judged.outcome if judged.sure else "unclear"
