"""What a run says, in words: for each kind of work which arms to choose, by how much, and how sure that is. No overall score, no crown.

Only what is shown to be worse is called that, and only what is shown to be equal; the condition travels with the claim.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import ceil, log

from ..results import Claim, Report, Result, Verdict
from ..statistics.analysis import FEWEST, client_limited
from ..statistics.contrasts import furthest
from ..statistics.figures import FIGURES
from ..workloads import variants
from ..workloads.variants import Kind

# What a call style does for the calls/s of a client.
_STYLE_OUTCOMES = {
    "better": "more",
    "worse": "fewer",
    "equal": "as many within the margin",
    "unclear": "unclear",
}

# What a way does, in the figure that it is compared by.
_WAY_OUTCOMES = {
    name: {
        "better": f"{'more' if figure.larger_is_better else 'less'} {figure.words}",
        "worse": f"{'fewer' if figure.larger_is_better else 'more'} {figure.words}",
        "equal": f"the same {figure.words} within the margin",
        "unclear": "unclear",
    }
    for name, figure in FIGURES.items()
    if figure.less
}

# Of a cell, by the median of its slices or calls.
_BY_MEDIAN = ("throughput", "p50")

# A difference that whoever asks would like to see.
_WANTED = 0.10
# A machine that never ran slower than this, beside its best, needs no word.
_STEADY = 0.9
# Nobody waits for longer, in seconds.
_PATIENCE = 86_400.0

Cell = tuple[str, str, str]


def verdict(report: Report) -> Verdict:
    """The words for a report whose claims are there."""
    caveats = list(_caveats(report))
    failed = [check for check in report.checks if not check.ok]
    if failed:
        reasons = "; ".join(f"{check.name}: {check.says}" for check in failed)
        return Verdict(
            [f"This run cannot be trusted, so it claims nothing. {reasons}."], caveats, trusted=False
        )
    if len(report.results) == 0:
        return Verdict([], caveats)
    text = [f"{cell}: {sentence}" for cell, (_, sentence) in answers(report).items()]
    if text:
        text.append(_condition(report))
    text += _styles(report)
    text += [sentence for kind in variants.measured(report) for sentence in ways(report, kind)]
    return Verdict(text, caveats)


def answers(report: Report) -> dict[str, tuple[list[Claim], str]]:
    """By the name of each cell in which arms are compared, the claims, of the best first, and in words what to choose."""
    cells = report.contests()
    several = len({(workload, style) for workload, _, style in cells}) < len(cells)
    return {name(cell, several=several): (claims, answer(claims, report)) for cell, claims in cells.items()}


def name(cell: Cell, *, several: bool) -> str:
    """Of a cell; with its client where there are several."""
    workload, client, style = cell
    return f"{workload}, {style}, {client} client" if several else f"{workload}, {style}"


def of_best(claims: Sequence[Claim]) -> list[Claim]:
    """Of one cell's claims, those of its best arm, which comes first, beside each of the others."""
    return [each for each in claims if each.arm == claims[0].arm]


def answer(claims: Sequence[Claim], report: Report) -> str:
    """What to choose in one cell."""
    best, words = claims[0].arm, FIGURES[claims[0].figure].words
    beside = of_best(claims)
    worse = [each for each in beside if each.verdict == "better"]
    unclear = [each for each in beside if each.verdict == "unclear"]
    everyone = f"any of {_listed(sorted([best, *(each.against for each in beside)]), 'or')}"
    widest = max(furthest(each.low, each.high) for each in beside)
    if not worse and not unclear:
        return f"{everyone}: alike within {_percent(widest)} in {words} ({_sure(beside)}){_bound(claims, report)}."
    if not worse:
        return f"no difference in {words} was shown; any is below {_percent(widest)}{_longer(beside, report)}{_bound(claims, report)}."
    surely = sorted([best, *(each.against for each in beside if each.verdict == "equal")])
    perhaps = f", perhaps {_listed([each.against for each in unclear], 'or')}" if unclear else ""
    parts = ", ".join(f"{each.against} {_difference(each)}" for each in worse)
    return f"{_listed(surely, 'or')}{perhaps}; {parts}{_bound(claims, report)}."


def _difference(claim: Claim) -> str:
    """How much worse the other is."""
    fewer = FIGURES[claim.figure].larger_is_better
    low, middle, high = (1 - 1 / each if fewer else each - 1 for each in (claim.low, claim.ratio, claim.high))
    spread = f"{_percent(low).removesuffix(' %')}..{_percent(high)}"
    return f"{FIGURES[claim.figure].less.format(_percent(middle))} ({spread}, {_sure([claim])})"


def _sure(claims: Sequence[Claim]) -> str:
    return "sure" if all(each.sure for each in claims) else "likely"


def _longer(claims: Sequence[Claim], report: Report) -> str:
    """In what time a difference that matters would be seen: half-widths shrink as the root of it."""
    half = max(log(each.high / each.low) / 2 for each in claims)
    seconds = report.design.seconds * (half / log(1 + _WANTED)) ** 2
    if half <= log(1 + _WANTED) or not 0 < seconds < _PATIENCE:
        return ""
    return f"; to know within {_percent(_WANTED)}: --time {ceil(seconds / 60)}m"


def _percent(part: float) -> str:
    return f"{part * 100:.0f} %" if abs(part) >= 0.01 else f"{part * 100:.1f} %"


def _ratio(claim: Claim) -> str:
    return f"{claim.ratio:.2f} ({claim.low:.2f}..{claim.high:.2f})"


def _listed(names: Sequence[str], word: str = "and") -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} {word} {names[-1]}"


def _bound(claims: Sequence[Claim], report: Report) -> str:
    """For a closed loop whose generator was the limit, what can be said of its calls/s."""
    cell = claims[0].workload, claims[0].client, claims[0].style
    results = [each for each in report.results if (each.workload, each.client, each.style) == cell]
    limited = [each for each in results if client_limited(each) and each.loop == "closed"]
    if not limited or cell[0] in ("lone", "idle"):
        return ""
    least = min(each.throughput for each in limited)
    return f"; the {cell[1]} client was the limit, the servers can do at least {least:,.0f} calls/s"


def _styles(report: Report) -> Iterator[str]:
    """Blocking or asynchronous calls, of the same arm and client."""
    found: dict[tuple[str, str], list[Claim]] = {}
    for each in report.claims:
        if each.of_styles:
            found.setdefault((each.workload, each.client), []).append(each)
    for (workload, client), claims in found.items():
        lead = (
            f"Calls/s of {workload} by {claims[0].style}, beside {claims[0].against_style}, {client} client"
        )
        yield f"{lead}: {_parts(claims, _STYLE_OUTCOMES)}."


def ways(report: Report, kind: Kind) -> Iterator[str]:
    """What each way of a workload costs or gives."""
    for prices in variants.prices(report):
        for way in prices.ways if prices.kind is kind else ():
            claims = [found[way] for found in prices.claims.values() if way in found]
            lead = f"{kind.workload} with {way}, beside {kind.plain} ({prices.style}, {prices.client} client)"
            parts = "; ".join(
                _parts([each for each in claims if each.figure == figure], _WAY_OUTCOMES[figure])
                for figure in dict.fromkeys(each.figure for each in claims)
            )
            yield f"{lead}: {parts}{_least(claims, report)}."


def _parts(claims: Sequence[Claim], words: dict[str, str]) -> str:
    parts = []
    for outcome, word in words.items():
        those = [each for each in claims if each.verdict == outcome]
        named = [each.arm if outcome == "equal" else f"{each.arm} {_ratio(each)}" for each in those]
        if named:
            sure = f" ({_sure(those)})" if outcome != "unclear" else ""
            parts.append(f"{word} on {_listed(named)}{sure}")
    return "; ".join(parts)


def _least(claims: Sequence[Claim], report: Report) -> str:
    """Of which of the better ones the load generator was the limit, so that they may be better yet."""
    better = {
        (each.workload, each.client, each.style, each.arm)
        for each in claims
        if each.verdict == "better" and each.figure != "server_cpu"
    }
    limited = [
        each.arm
        for each in report.results
        if (each.workload, each.client, each.style, each.arm) in better and client_limited(each)
    ]
    return f"; at least, as the load generator was the limit, on {_listed(limited)}" if limited else ""


def _condition(report: Report) -> str:
    here, design = report.environment, report.design
    sure = (
        f"Sure: at {design.confidence:.0%} for all claims of this run together; likely: for those of one line"
    )
    pinned = f"; {design.pinned}" if design.pinned else ""
    return (
        f"{sure}. On {here.cpus} CPU{'' if here.cpus == 1 else 's'}, {_processes(report)}, {here.implementation} {here.python}, "
        f"{design.rounds} rounds{pinned}."
    )


def _processes(report: Report) -> str:
    most = max(each.servers for each in report.results)
    return "one server process" if most == 1 else f"one server process, of balanced calls up to {most}"


def _caveats(report: Report) -> Iterator[str]:
    windows = [made for result in report.results for made in result.rounds]
    for peer, cells in report.design.lacking.items():
        yield f"No line of {peer}, which has nothing for it: {'; '.join(cells)}."
    if report.environment.quick and windows:
        yield "A quick run is indicative: few slices, few rounds."
    if 0 < report.design.rounds < FEWEST:
        yield f"Fewer than {FEWEST} rounds claim nothing: how the figures scatter is not known."
    if report.speed is not None and report.speed.slowest < _STEADY:
        yield (
            f"This machine ran at {report.speed.slowest:.0%} to 100% of its best speed, at {report.speed.median:.0%} for half of the time; "
            "the intervals allow for that."
        )
    for kind in variants.measured(report):
        yield from variants.counted(report, kind)
    for result in report.results:
        what = f"{result.arm} in {result.workload}, {result.style}, {result.client} client"
        if result.void:
            yield f"Void: {what}: {result.void}."
        elif result.overloaded and result.rate is not None:
            yield (
                f"Overloaded: {what}: {result.rate.offered:,.0f} calls/s came, {result.rate.achieved:,.0f} were answered, "
                f"{result.rate.skipped:,} never sent."
            )
        if broken := variants.broken(result):
            yield f"Inconsistent: {what}: {broken}."
        yield from _late(result, what)
    yield from _rare(report)


def _rare(report: Report) -> Iterator[str]:
    """Where the mean contradicts what the median of slices says: some slices, rare ones, were far slower."""
    cells = {(each.workload, each.client, each.style, each.arm): each for each in report.results}
    several = len({each.client for each in report.results}) > 1
    for claim in report.claims:
        if claim.figure not in _BY_MEDIAN or not claim.of_arms:
            continue
        cell = claim.workload, claim.client, claim.style
        better, other = (cells[(*cell, arm)] for arm in (claim.arm, claim.against))
        if claim.figure == "throughput":
            mean = better.throughput / other.throughput
        else:
            mean = (other.latency.mean or 0.0) / (better.latency.mean or 1.0)
        if mean and mean < min(claim.low, 1 - report.design.margin):
            yield (
                f"Rare slow slices: {name(cell, several=several)}: by its mean {claim.arm} is {_percent(1 - mean)} worse than "
                f"{claim.against}, where the median of slices says other."
            )


def _late(result: Result, what: str) -> Iterator[str]:
    """A generator that could not send in time has measured itself."""
    if result.loop == "open" and result.limit == "client" and result.slip is not None:
        yield f"Sent late: {what}: p99 of how late is {FIGURES['p99'].text(result.slip.p99)} ms."
