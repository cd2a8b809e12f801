"""A run as lines of text: the plan, a line for each trial and round when it ends, and the
verdict."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence

from .measure import enough_for
from .request import TuneRequest
from .results import Figures, Finalist, Trial, Tuning
from .rounds import FEWEST
from .settings import Settings

_WIDTH = 120


def plan(tuning: Tuning, request: TuneRequest) -> Iterator[str]:
    """The plan of the run."""
    here = tuning.environment
    yield (
        f"ringback tune, seed {request.seed}, {here.implementation} {here.python}, {here.cpus} "
        f"CPUs ({here.cpu_model}); "
        f"{tuning.placement}"
    )
    yield f"search: {tuning.searched}"
    yield f"load: {tuning.load}"
    trials = f"{request.trials} trials" if request.trials else "trials"
    if request.seconds is None:
        yield f"{trials}, then {FEWEST} rounds of the best and the defaults"
    else:
        yield (
            f"{trials} and rounds of the best and the defaults ({FEWEST} at least), in about "
            f"{request.seconds:.0f} s"
        )


def head(request: TuneRequest) -> str:
    """The heading of the trials."""
    return f"trial   calls/s  {f'{request.rank} ms':>8}  settings"


def trial(request: TuneRequest, made: Trial) -> str:
    """The line of a trial."""
    note = " (the defaults)" if made.number == 1 else ""
    if made.figures is None:
        return f"{made.number:5}    failed            {made.settings}{note}: {made.failed}"
    late = "" if made.held else f"  [not {request.objective}]"
    return f"{made.number:5}  {_figures(request, made.figures)}  {made.settings}{note}{late}"


def _figures(request: TuneRequest, figures: Figures) -> str:
    value = getattr(figures.latency, request.rank)
    # A rank of too few calls depends on single ones.
    rough = "" if enough_for(request.rank, figures.calls) else "~"
    return f"{figures.throughput:8,.0f}  {f'{rough}{value * 1000:,.1f}':>8}"


def finalists(settings: Sequence[Settings], rounds: int) -> Iterator[str]:
    """The settings that are measured again, with letters."""
    yield ""
    yield f"{rounds} rounds, calls/s:"
    for place, each in enumerate(settings):
        yield f"  {_letter(place)}  {each}{' (the defaults)' if not place else ''}"


def round_line(number: int, settings: Sequence[Settings], found: Mapping[Settings, Figures]) -> str:
    """The line of a round."""
    cells = (
        f"{_letter(place)} {found[each].throughput:,.0f}"
        if each in found
        else f"{_letter(place)} -"
        for place, each in enumerate(settings)
    )
    return f"{number:5}  {'  '.join(f'{cell:<10}' for cell in cells)}".rstrip()


def result(request: TuneRequest, tuning: Tuning) -> Iterator[str]:
    """The result of the run."""
    yield ""
    for place, each in enumerate(tuning.finalists):
        yield f"  {_letter(place)}  {_finalist(request, each)}"
    for failure in tuning.failures:
        yield from _wrapped(f"dropped: {failure}")
    if tuning.finalists:
        yield ""
    if not tuning.complete:
        yield "interrupted: these are the results so far"
    if tuning.verdict.best is None:
        return  # the command reports this as an error
    yield f"  {tuning.verdict.command}"
    for sentence in tuning.verdict.sentences:
        yield from _wrapped(sentence)


def _finalist(request: TuneRequest, each: Finalist) -> str:
    value = f"{'' if each.enough else '~'}{(each.value or 0.0) * 1000:,.1f} ms"
    ratio = ""
    if each.ratio is not None and each.interval is not None:
        ratio = f"  {each.ratio:.2f} ({each.interval[0]:.2f}..{each.interval[1]:.2f}) of A"
    kept = f", met in {each.kept} of {len(each.rounds)} rounds" if request.objective else ""
    return f"{each.throughput:8,.0f} calls/s  {request.rank} {value}{kept}{ratio}"


def _letter(place: int) -> str:
    return chr(ord("A") + place)


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(
        text, _WIDTH, break_long_words=False, break_on_hyphens=False, subsequent_indent="  "
    )
