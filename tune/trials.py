"""The search: Optuna suggests the next settings from the results so far. The server's defaults come
first, then settings that are likely to be good.

Failed settings are reported to Optuna as pruned: it learns nothing from trials in state FAIL, and
would suggest similar ones again.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from statistics import median

import optuna

from .measure import Failed, Seen, held
from .request import TuneRequest
from .results import Trial
from .settings import MARGIN, Settings

# The constraint's name; it holds where its value is not above 0.
_KEPT = "objective"


class Search:
    """A search. `trials` grows during the run, so an interrupted search keeps its results.

    `measure` may raise Failed.
    """

    def __init__(self, request: TuneRequest, measure: Callable[[Settings], Seen]) -> None:
        self.trials: list[Trial] = []
        self._request = request
        self._measure = measure
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._study = optuna.create_study(
            direction="maximize", sampler=optuna.samplers.TPESampler(seed=request.seed)
        )
        for settings in (request.space.defaults, *request.space.guesses(request.concurrency)):
            self._study.enqueue_trial(dict(request.space.parameters(settings)))

    def run(self, seconds: float | None, tried: Callable[[Trial], None]) -> None:
        """Make the trials asked for, or as many as fit in these seconds, but at least two.

        Stops after the first if the defaults fail.
        """
        began = time.monotonic()
        took: list[float] = []
        while len(self.trials) < (self._request.trials or float("inf")):
            started = time.monotonic()
            if seconds is not None and len(took) > 1 and started - began + median(took) > seconds:
                return
            tried(self._next(started - began))
            took.append(time.monotonic() - started)
            if self.trials[0].failed:
                return

    def _next(self, at: float) -> Trial:
        asked = self._study.ask()
        settings = self._request.space.suggested(asked)
        number = len(self.trials) + 1
        if number == 1:
            settings = (
                self._request.space.defaults
            )  # without the values that Optuna has for the server's defaults
        try:
            figures = self._measure(settings).figures
        except Failed as error:
            self._study.tell(asked, state=optuna.trial.TrialState.PRUNED)
            made = Trial(number=number, at=round(at, 3), settings=settings, failed=str(error))
        else:
            objective, value = self._request.objective, getattr(figures.latency, self._request.rank)
            if objective is not None:
                asked.set_constraint(_KEPT, value - objective.seconds)
            self._study.tell(asked, figures.throughput)
            made = Trial(
                number=number,
                at=round(at, 3),
                settings=settings,
                figures=figures,
                held=held(objective, value),
            )
        self.trials.append(made)
        return made


def ranked(trials: Sequence[Trial]) -> dict[Settings, float]:
    """Settings that met the objective in more than half of their trials, with median calls/s,
    fastest first."""
    by_settings: defaultdict[Settings, list[Trial]] = defaultdict(list)
    for trial in trials:
        by_settings[trial.settings].append(trial)
    values = {
        settings: median(trial.figures.throughput if trial.figures else 0.0 for trial in same)
        for settings, same in by_settings.items()
        if 2 * sum(trial.held for trial in same) > len(same)
    }
    return dict(sorted(values.items(), key=lambda each: each[1], reverse=True))


def contenders(values: Mapping[Settings, float]) -> list[Settings]:
    """The ranked settings worth measuring again: the best, the simplest equally good ones, the
    others.

    Settings that differ only in the number of workers count once.
    """
    kinds: dict[object, Settings] = {}
    for settings in values:
        kinds.setdefault(settings.kind, settings)
    best, *others = kinds.values()
    as_good = [each for each in kinds.values() if values[each] * (1 + MARGIN) >= values[best]]
    simplest = min(as_good, key=lambda each: each.complexity)
    return list(dict.fromkeys([best, simplest, *others]))


def nearest(trials: Sequence[Trial], rank: str) -> Trial | None:
    """The trial with the shortest response time; None if nothing was measured."""
    measured = [trial for trial in trials if trial.figures is not None]
    return min(
        measured,
        key=lambda trial: getattr(trial.figures.latency, rank) if trial.figures else 0.0,
        default=None,
    )
