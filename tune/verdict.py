"""The verdict of a run: the settings to use, and how sure that is, in words. Values in, values
out."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from .request import TuneRequest
from .results import Finalist, Trial, TuneVerdict
from .settings import MARGIN, Settings
from .trials import nearest, ranked

# Fraction of the time above which a busy load generator counts as the limit.
_BUSY = 0.9


def verdict(
    request: TuneRequest, trials: Sequence[Trial], finalists: Sequence[Finalist]
) -> TuneVerdict:
    """The verdict of these measurements. An interrupted run has fewer of them."""
    if not trials:
        return TuneVerdict(sentences=["nothing was measured"])
    if trials[0].failed:
        return TuneVerdict(
            sentences=[
                f"the defaults fail, so there is nothing to compare with: {trials[0].failed}"
            ]
        )
    keeping = ranked(trials)
    if not keeping:
        return _none(request, trials)
    if len(finalists) > 1:
        return _of_rounds(request, finalists)
    best = next(iter(keeping))
    if request.space.is_default(best):
        best, sentence = (
            request.space.defaults,
            f"of {len(trials)} trials none was better than the defaults",
        )
    else:
        sentence = (
            "the best of the search, which measured it once or twice: not proved to be better "
            "than the defaults"
        )
    return _with(request, best, [sentence], shown=False)


def _with(
    request: TuneRequest, best: Settings, sentences: list[str], *, shown: bool
) -> TuneVerdict:
    return TuneVerdict(
        best=best, command=best.command(request.service), sentences=sentences, shown=shown
    )


def _none(request: TuneRequest, trials: Sequence[Trial]) -> TuneVerdict:
    near = nearest(trials, request.rank)
    assert near is not None  # the defaults at least have figures
    return _nothing(request, "no settings", near.settings, value(request, near))


def _nothing(request: TuneRequest, what: str, near: Settings, took: float | None) -> TuneVerdict:
    had = f"the closest had {_time(request, took)}: {near.command(request.service)}"
    return TuneVerdict(sentences=[f"{what} met {request.objective}; {had}"])


def _of_rounds(request: TuneRequest, finalists: Sequence[Finalist]) -> TuneVerdict:
    defaults, *others = finalists
    keeping = [each for each in others if each.held]
    if not keeping and not defaults.held:
        near = min(finalists, key=lambda each: each.value or 0.0)
        return _nothing(request, "measured again, no settings", near.settings, near.value)
    if not defaults.held:
        return _instead(request, defaults, _simplest(keeping))
    rounds = len(defaults.rounds)
    better = [each for each in keeping if each.outcome == "better"]
    if better:
        best = _simplest(better)
        sure = f"sure at 95%, {rounds} rounds{_together(finalists)}"
        sentence = f"{_ratio(best)}, {_time(request, best.value)}; {sure}"
        return _with(request, best.settings, [sentence, *_caveats(request, best)], shown=True)
    sentence = f"{rounds} rounds proved no settings better than the defaults"
    if keeping:
        sentence += (
            f"; the best of the others has {_ratio(max(keeping, key=lambda each: each.throughput))}"
        )
    return _with(request, defaults.settings, [sentence, *_caveats(request, defaults)], shown=False)


def _simplest(finalists: Sequence[Finalist]) -> Finalist:
    """The simplest of those as good as the best."""
    most = max(each.throughput for each in finalists)
    as_good = [each for each in finalists if each.throughput * (1 + MARGIN) >= most]
    return min(as_good, key=lambda each: each.settings.complexity)


def _instead(request: TuneRequest, defaults: Finalist, best: Finalist) -> TuneVerdict:
    """The verdict if the defaults do not meet the objective. It is proved only if all rounds
    agree."""
    rounds = len(defaults.rounds)
    missed = f"{_time(request, defaults.value)}, met in {defaults.kept} of {rounds} rounds"
    sentence = (
        f"the defaults do not meet {request.objective} ({missed}); these do, with {_ratio(best)}, "
        f"{_time(request, best.value)}"
    )
    shown = best.kept == rounds and not defaults.kept
    return _with(request, best.settings, [sentence, *_caveats(request, best)], shown=shown)


def _ratio(each: Finalist) -> str:
    if each.ratio is None or each.interval is None:
        return "too few rounds to compare its calls/s with the defaults"
    low, high = each.interval
    return f"{each.ratio:.2f} times ({low:.2f}..{high:.2f}) the calls/s of the defaults"


def _together(finalists: Sequence[Finalist]) -> str:
    return f", for all {len(finalists) - 1} ratios together" if len(finalists) > 2 else ""


def _caveats(request: TuneRequest, best: Finalist) -> list[str]:
    sentences = []
    if request.objective is not None:
        sentences.append(f"{request.objective} was met in {best.kept} of {len(best.rounds)} rounds")
    if not best.enough:
        sentences.append(f"{request.rank} is inaccurate: there were too few calls")
    busy = [each.client_busy for each in best.rounds if each.client_busy is not None]
    if busy and median(busy) >= _BUSY:
        sentences.append(
            "the load generator was the limit: with a faster one the calls/s may be higher, and "
            "differ more"
        )
    return sentences


def value(request: TuneRequest, trial: Trial) -> float | None:
    """The response time of the objective."""
    return None if trial.figures is None else getattr(trial.figures.latency, request.rank)


def _time(request: TuneRequest, seconds: float | None) -> str:
    return (
        f"{request.rank} unknown" if seconds is None else f"{request.rank} {seconds * 1000:.1f} ms"
    )
