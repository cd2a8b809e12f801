"""The verdict of a run in words: for each cell the arms to choose, by how much, and how sure that
is.

There is no overall score. An arm is called worse, or equal, only if that is proved; each claim
comes with its conditions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import ceil, log

from ..results import Claim, Report, Verdict
from ..statistics.contrasts import furthest
from ..statistics.figures import FIGURES, Figure, percent, ratio
from ..workloads import variants
from .caveats import caveats
from .names import contests, of_best

# Difference that a run should be able to detect.
_WANTED = 0.10
# Longest run to recommend, in seconds.
_PATIENCE = 86_400.0


def verdict(report: Report) -> Verdict:
    """The verdict of a report that has its claims."""
    beside = list(caveats(report))
    failed = [check for check in report.checks if not check.ok]
    if failed:
        reasons = "; ".join(f"{check.name}: {check.says}" for check in failed)
        return Verdict(
            [f"This run cannot be trusted, so it makes no claims. {reasons}."],
            beside,
            trusted=False,
        )
    text = [f"{name}: {answer(claims, report)}" for name, claims in contests(report).items()]
    if text:
        text.append(_condition(report))
    return Verdict([*text, *_others(report)], beside)


def answer(claims: Sequence[Claim], report: Report) -> str:
    """The arms to choose in one cell, and how the others compare."""
    best, words = claims[0].arm, FIGURES[claims[0].figure].words
    beside = of_best(claims)
    worse = [each for each in beside if each.verdict == "better"]
    unclear = [each for each in beside if each.verdict == "unclear"]
    widest = max(furthest(each.low, each.high) for each in beside)
    if not worse and not unclear:
        everyone = _listed(sorted([best, *(each.against for each in beside)]), "or")
        return (
            f"any of {everyone}: equal within {percent(widest)} in {words} "
            f"({_sure(beside)}){_bound(claims, report)}."
        )
    if not worse:
        return (
            f"no significant difference in {words} (below "
            f"{percent(widest)}){_longer(beside, report)}{_bound(claims, report)}."
        )
    surely = sorted([best, *(each.against for each in beside if each.verdict == "equal")])
    perhaps = f", perhaps {_listed([each.against for each in unclear], 'or')}" if unclear else ""
    parts = ", ".join(f"{each.against} {_difference(each)}" for each in worse)
    return f"{_listed(surely, 'or')}{perhaps}; {parts}{_bound(claims, report)}."


def _difference(claim: Claim) -> str:
    """How much worse the other arm is."""
    fewer = FIGURES[claim.figure].larger_is_better
    low, middle, high = (
        1 - 1 / each if fewer else each - 1 for each in (claim.low, claim.ratio, claim.high)
    )
    spread = f"{percent(low).removesuffix(' %')}..{percent(high)}"
    return f"{FIGURES[claim.figure].less.format(percent(middle))} ({spread}, {_sure([claim])})"


def _sure(claims: Sequence[Claim]) -> str:
    return "sure" if all(each.sure for each in claims) else "likely"


def _longer(claims: Sequence[Claim], report: Report) -> str:
    """The time of a run that would detect a difference of _WANTED: half-widths shrink with its
    square root."""
    half = max(log(each.high / each.low) / 2 for each in claims)
    seconds = report.design.seconds * (half / log(1 + _WANTED)) ** 2
    if half <= log(1 + _WANTED) or not 0 < seconds < _PATIENCE:
        return ""
    return f"; to detect {percent(_WANTED)}: --time {ceil(seconds / 60)}m"


def _listed(names: Sequence[str], word: str = "and") -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} {word} {names[-1]}"


def _bound(claims: Sequence[Claim], report: Report) -> str:
    """The lower bound of calls/s of a closed loop that the load generator limited; else ""."""
    cell = claims[0].workload, claims[0].client, claims[0].style
    results = [each for each in report.results if (each.workload, each.client, each.style) == cell]
    limited = [each for each in results if each.client_limited and each.loop == "closed"]
    if not limited or cell[0] in ("lone", "idle"):
        return ""
    least = min(each.throughput for each in limited)
    return f"; the {cell[1]} client was the limit, the servers can do at least {least:,.0f} calls/s"


def _others(report: Report) -> Iterator[str]:
    """Sentences on claims between call styles, and between a variant and the plain workload."""
    found: dict[str, list[Claim]] = {}
    for each in report.claims:
        if each.of_styles:
            lead = (
                f"{each.workload} by {each.style}, compared with {each.against_style} "
                f"({each.client} client)"
            )
            found.setdefault(lead, []).append(each)
        elif each.of_workloads:
            varied, variant = variants.known(each.workload)
            lead = (
                f"{varied.workload} with {variant}, compared with {varied.plain} "
                f"({each.style}, {each.client} client)"
            )
            found.setdefault(lead, []).append(each)
    for lead, claims in found.items():
        yield f"{lead}: {_parts(claims)}{_least(claims, report)}."


def _parts(claims: Sequence[Claim]) -> str:
    parts = []
    for outcome, words in _outcomes(FIGURES[claims[0].figure]).items():
        those = [each for each in claims if each.verdict == outcome]
        named = [
            each.arm
            if outcome == "equal"
            else f"{each.arm} {ratio(each.ratio, each.low, each.high)}"
            for each in those
        ]
        if named:
            sure = f" ({_sure(those)})" if outcome != "unclear" else ""
            parts.append(f"{words} on {_listed(named)}{sure}")
    return "; ".join(parts)


def _outcomes(figure: Figure) -> dict[str, str]:
    better, worse = ("more", "fewer") if figure.larger_is_better else ("less", "more")
    return {
        "better": f"{better} {figure.words}",
        "worse": f"{worse} {figure.words}",
        "equal": f"the same {figure.words} within the margin",
        "unclear": "unclear",
    }


def _least(claims: Sequence[Claim], report: Report) -> str:
    """The arms whose better variant the load generator limited, so that it may be better still."""
    better = {
        (each.workload, each.client, each.style, each.arm)
        for each in claims
        if each.of_workloads and each.verdict == "better" and each.figure != "server_cpu"
    }
    limited = [
        each.arm
        for each in report.results
        if (each.workload, each.client, each.style, each.arm) in better and each.client_limited
    ]
    return (
        f"; lower bounds on {_listed(limited)}, as the load generator was the limit"
        if limited
        else ""
    )


def _condition(report: Report) -> str:
    here, design = report.environment, report.design
    pinned = f"; {design.pinned}" if design.pinned else ""
    return (
        f"Sure: at {design.confidence:.0%} for all claims of this run together; likely: for those "
        f"of one line. "
        f"On {here.cpus} CPU{'' if here.cpus == 1 else 's'}, {here.implementation} {here.python}, "
        f"{design.rounds} rounds{pinned}."
    )
