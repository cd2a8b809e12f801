"""From rounds to claims: differences between arms, call styles, and variants of a workload.

Rounds are the unit, and paired. All claims of a run are corrected together; see `contrasts`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

from ..load.plan import FIRE_AND_CALLBACK, REQUEST_REPLY, STYLES
from ..results import Check, Claim, Intervals, Outcome, Report, Result
from ..workloads import variants
from ..workloads.table import place
from . import inference, noise
from .contrasts import Contrast, Judged, Rule, contrasts, judge, turned
from .figures import CLAIMED, FIGURES, Figure, claimed, common, values
from .noise import ControlPair

# Minimum rounds of a claim: with fewer the variance is not known.
FEWEST = 4


class _Group(NamedTuple):
    """Cells to contrast by one figure, under the name that distinguishes them.

    All pairs make a claim, or, if `each` is given, only the pairs with that one. `limit`: a cell
    limited by the load generator may be better than its figure; False if the client's own speed is
    what is compared.
    """

    figure: Figure
    cells: Mapping[str, Result]
    each: str = ""
    limit: bool = True

    def contrasts(self) -> list[Contrast]:
        """The contrasts over the rounds that are good for all cells; empty if these are too few."""
        by_round = common(self.figure, {name: result.good for name, result in self.cells.items()})
        if min(map(len, by_round.values()), default=0) < FEWEST:
            return []
        found = contrasts(by_round, larger_is_better=self.figure.larger_is_better)
        if not self.each:
            return found
        return [
            turned(each) if each.arm == self.each else each
            for each in found
            if self.each in (each.arm, each.against)
        ]

    def limited(self, cell: Result) -> bool:
        """Whether the cell may be better than its figure."""
        return self.limit and self.figure.name != "server_cpu" and cell.client_limited


def analyse(report: Report, controls: Sequence[ControlPair]) -> None:
    """Fill in intervals, A/A controls, checks and claims."""
    confidence = report.design.confidence
    for result in (*report.results, *report.peers):
        intervals = {name: inference.interval(values(name, result), confidence) for name in CLAIMED}
        result.interval = Intervals(**intervals)
    figures = {
        (each.workload, each.client, each.style): _claimed(each, report).name
        for each in report.results
    }
    report.twins = noise.controls(controls, figures, confidence)
    report.checks = list(_checks(report))
    report.claims = []
    made = [(group, contrast) for group in _groups(report) for contrast in group.contrasts()]
    rules = [Rule(report.design.margin, group.figure.least) for group, _ in made]
    found = judge([contrast for _, contrast in made], rules, confidence)
    if all(check.ok for check in report.checks):
        report.claims = [_claim(group, each) for (group, _), each in zip(made, found, strict=True)]


def _claimed(result: Result, report: Report) -> Figure:
    return claimed(
        result.workload,
        opened=result.loop == "open",
        duet=report.design.duet,
    )


def _groups(report: Report) -> Iterator[_Group]:
    """The groups that claims can be made of: arms, then call styles, then variants."""
    sound = [each for each in report.results if each.sound and not each.overloaded]
    sound.sort(
        key=lambda each: (
            place(each.workload),
            each.workload,
            each.client,
            STYLES.index(each.style),
        )
    )
    for _, cell in groupby(sound, key=lambda each: (each.workload, each.client, each.style)):
        arms = {each.arm: each for each in cell}
        yield _Group(_claimed(next(iter(arms.values())), report), arms)
    if not report.design.duet:
        yield from _styles(sound)
    for group in variants.groups(sound):
        plain = group.varied.plain
        if plain in group.cells:
            yield _Group(_claimed(group.cells[plain], report), group.cells, each=plain)


def _styles(sound: Sequence[Result]) -> Iterator[_Group]:
    """Both call styles of an arm in a closed loop with the same calls in flight.

    If the client is the limit, the calls/s are its own, which is what this compares.
    """
    waiting = {
        (each.workload, each.client, each.arm, each.concurrency): each
        for each in sound
        if each.style == REQUEST_REPLY and each.loop == "closed"
    }
    for fired in sound:
        key = fired.workload, fired.client, fired.arm, fired.concurrency
        if fired.style == FIRE_AND_CALLBACK and fired.loop == "closed" and key in waiting:
            both = {FIRE_AND_CALLBACK: fired, REQUEST_REPLY: waiting[key]}
            yield _Group(FIGURES["throughput"], both, each=REQUEST_REPLY, limit=False)


def _claim(group: _Group, judged: Judged) -> Claim:
    contrast = judged.contrast
    own, other = group.cells[contrast.arm], group.cells[contrast.against]
    # A cell that may be better than its figure is surely better than one it beats; no other outcome
    # is known.
    hidden: list[Outcome] = []
    hidden += ["worse", "equal"] if group.limited(own) else []
    hidden += ["better", "equal"] if group.limited(other) else []
    outcome = "unclear" if judged.outcome in hidden else judged.outcome
    return Claim(
        workload=own.workload,
        client=own.client,
        style=own.style,
        arm=own.arm,
        against=other.arm,
        against_style=other.style,
        against_workload=other.workload,
        figure=group.figure.name,
        ratio=judged.ratio,
        low=judged.low,
        high=judged.high,
        verdict=outcome,
        sure=judged.sure and outcome != "unclear",
        p=contrast.p,
        detectable=judged.detectable,
        rounds=contrast.rounds,
    )


def _checks(report: Report) -> Iterator[Check]:
    windows = [made for result in report.results for made in result.rounds]
    if not windows:
        return
    if report.twins:
        says = ", ".join(
            f"{twin.figure} {twin.ratio:.3f} ({twin.low:.3f}..{twin.high:.3f})"
            for twin in report.twins
        )
        rounds = max(twin.rounds for twin in report.twins)
        yield Check(
            "control",
            all(twin.ok for twin in report.twins),
            f"the same arm twice in {rounds} rounds: {says}",
        )
    wrong = sum(result.wrong for result in report.results)
    yield Check(
        "replies", not wrong, f"{wrong} wrong of {sum(each.calls for each in report.results):,}"
    )
    void = [result for result in report.results if result.void]
    open_laws = sum(not made.little.ok for made in windows)
    says = (
        f"holds in {len(windows) - open_laws} of {len(windows)} rounds of cells; void cells: "
        f"{len(void)}"
    )
    yield Check("Little's law", len(void) * 2 <= len(report.results), says)
