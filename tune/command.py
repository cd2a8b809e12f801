"""`ringback tune`: show the plan, search, measure the best again, show the verdict.

An interrupted run shows its results so far.
"""

from __future__ import annotations

import os
import shlex
import signal
import sys
import time
from collections.abc import Iterable, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import median

import optuna
import typer

from ..compare.command import USAGE
from ..compare.results import Environment
from ..compare.run.environment import environment
from ..errors import UsageError
from . import table
from .measure import measure
from .options import TuneOptions
from .request import TuneRequest, request_of
from .results import Trial, Tuning
from .rounds import FEWEST, MOST, Rounds
from .settings import Settings
from .trials import Search, contenders, ranked
from .verdict import verdict

STDOUT = "-"

# Seconds of a window in the search, and in the rounds, which must detect smaller differences.
_TRIAL_WINDOW = 0.5
_ROUND_WINDOW = 1.0

# Fraction of the time for the search, and maximum settings to measure again.
_SEARCHED = 0.6
_FINALISTS = 3

# Assumed seconds of a measurement besides its window, before the first one.
_BESIDE = 2.0


class Run:
    """One run, and its results so far."""

    def __init__(self, request: TuneRequest, tuning: Tuning, *, to_stderr: bool) -> None:
        self._request = request
        self._tuning = tuning
        self._to_stderr = to_stderr
        self._began = time.monotonic()
        self._search = Search(request, partial(measure, request, window=_TRIAL_WINDOW))
        self._rounds: Rounds | None = None

    def run(self) -> None:
        """Search, then measure the best settings again."""
        request = self._request
        self._say(table.plan(self._tuning, request))
        self._say(["", table.head(request)])
        self._search.run(self._for_search(), self._tried)
        trials = self._search.trials
        others = {
            each: value
            for each, value in ranked(trials).items()
            if not request.space.is_default(each)
        }
        if others and not trials[0].failed:
            self._again(contenders(others))
        self._tuning.complete = True

    def _tried(self, made: Trial) -> None:
        self._say([table.trial(self._request, made)])

    def _for_search(self) -> float | None:
        """Seconds of the search. It leaves time for the minimum rounds of the defaults and one
        other."""
        seconds = self._request.seconds
        if seconds is None:
            return None
        return min(_SEARCHED * seconds, seconds - 2 * FEWEST * (_BESIDE + _ROUND_WINDOW))

    def _again(self, others: Sequence[Settings]) -> None:
        """Measure the best settings and the defaults again, in as many rounds as the time allows.
        With too little time for the minimum rounds there are fewer settings."""
        one = self._seconds_each()
        many, rounds = min(_FINALISTS, len(others)), FEWEST
        if self._request.seconds is not None:
            left = self._began + self._request.seconds - time.monotonic()
            while many > 1 and left < FEWEST * (many + 1) * one:
                many -= 1
            rounds = max(FEWEST, min(MOST, int(left / ((many + 1) * one))))
        settings = [self._request.space.defaults, *others[:many]]
        self._rounds = Rounds(
            self._request, settings, partial(measure, self._request, window=_ROUND_WINDOW)
        )
        self._say(table.finalists(settings, rounds))
        for number in range(1, rounds + 1):
            self._say([table.round_line(number, settings, self._rounds.round(number))])
            if self._rounds.over:
                return  # no settings are left to compare with the defaults

    def _seconds_each(self) -> float:
        """Seconds of one measurement in the rounds, estimated from those of the search."""
        starts = [trial.at for trial in self._search.trials]
        took = [after - before for before, after in pairwise(starts)]
        return median(took or [_BESIDE + _TRIAL_WINDOW]) + _ROUND_WINDOW - _TRIAL_WINDOW

    def finish(self, json: str | None) -> None:
        """Evaluate what was measured, write the JSON, and show the result."""
        tuning = self._tuning
        tuning.trials = self._search.trials
        if self._rounds is not None:
            tuning.finalists, tuning.failures = self._rounds.finalists(), self._rounds.failures
        tuning.verdict = verdict(self._request, tuning.trials, tuning.finalists)
        try:
            if json is not None:
                _write(json, tuning.json())
        finally:
            self._say(table.result(self._request, tuning))

    def _say(self, lines: Iterable[str]) -> None:
        for line in lines:
            typer.echo(line, err=self._to_stderr)


def tune(options: TuneOptions, json: str | None, words: Sequence[str]) -> int:
    """Run `ringback tune` and return the exit status: 1 if it finds no settings, 2 for usage
    errors.

    `words` are the command line's words, kept in the results to repeat it.
    """
    try:
        request = request_of(options)
        _check(json)
    except UsageError as error:
        typer.echo(f"ringback: {error}", err=True)
        return USAGE
    tuning = _start(request, words)
    run = Run(request, tuning, to_stderr=json == STDOUT)
    before = signal.signal(signal.SIGTERM, _terminated)
    try:
        run.run()
    finally:
        signal.signal(signal.SIGTERM, before)
        run.finish(json)
    if tuning.verdict.best is None:
        typer.echo(f"ringback: {tuning.verdict.sentences[0]}", err=True)
        return 1
    return 0


def _start(request: TuneRequest, words: Sequence[str]) -> Tuning:
    if "--seed" not in words:
        words = [*words, "--seed", str(request.seed)]
    placed = str(request.placement) or "server and client on all CPUs"
    return Tuning(
        environment=_environment(request),
        optuna=optuna.__version__,
        command=shlex.join(["ringback", "tune", *words]),
        searched=str(request.space),
        load=str(request),
        objective=str(request.objective) if request.objective else None,
        placement=placed,
        seconds=request.seconds,
    )


def _environment(request: TuneRequest) -> Environment:
    return environment(seed=request.seed, quick=False, cpu_steps=0)


def _terminated(_number: int, _frame: object) -> None:
    raise SystemExit(128 + signal.SIGTERM)


def _check(json: str | None) -> None:
    """Check the file before the run. Raises UsageError if it cannot be written."""
    if json is None or json == STDOUT:
        return
    path = Path(json)
    if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise UsageError(f"--json: {json} cannot be written")


def _write(json: str, data: bytes) -> None:
    if json == STDOUT:
        sys.stdout.write(data.decode())
        sys.stdout.flush()
        return
    try:
        Path(json).write_bytes(data)
    except OSError as error:
        raise UsageError(f"--json: {json} cannot be written: {error.strerror}") from None
