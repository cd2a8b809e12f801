"""What a run says, in words: for each question the backends to choose, why, and how sure that is. No overall score, no crown.

Only what is shown to be worse is called that, and only what is shown to be equal; the condition travels with the claim.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..results import Comparison, Report, Result, StyleComparison, Verdict, WayComparison
from ..statistics.analysis import client_limited
from ..workloads import variants
from ..workloads.variants import Kind
from .table import BUSY, milliseconds

# The question that a workload answers.
QUESTIONS = {
    "lone": "for the time of a single call",
    "echo": "for short calls",
    "echo-rate": "for response times at a moderate rate",
    "payload-1k": "for values of 1 KiB",
    "payload-64k": "for values of 64 KiB",
    "payload-1m": "for values of 1 MiB",
    "pooled": "for short calls by way of a worker",
    "io": "for handlers that wait",
    "io-async": "for coroutines that wait",
    "cpu": "for handlers that compute",
    "overload": "for what is done under an overload",
    "mixed": "for quick calls among slow ones",
    "burst": "for bursts of calls",
    "idle": "for many idle connections",
    "stream": "for streams",
    "counter": "for counters that nothing protects",
    "counter-lock": "for counters under locks",
    "counter-version": "for counters that are put if their version is the same",
    "counter-idempotency": "for counters in transactions with a key",
    "read": "for reads of a database",
    "read-cache": "for reads of a database behind a cache",
    "read-async-io": "for reads of a database by coroutines",
    "read-balance": "for reads of a database by way of several servers",
    "balance": "for calls to servers in turn, one of which is slow",
    "balance-least-in-flight": "for calls to the least busy of servers, one of which is slow",
    "balance-two-choices": "for calls to the less busy of two servers, one of which is slow",
    "balance-peak-ewma": "for calls to the sooner one of two servers, one of which is slow",
    "balance-default": "for calls by a usual client to servers, one of which is slow",
    "balance-hedge": "for calls that may be sent twice to servers, one of which is slow",
    "scenario": "for your scenario",
}

_METRICS = {
    "throughput": "calls/s",
    "p50": "median response time",
    "p99": "p99 response time",
    "server_cpu": "server CPU time a call",
}

# What a call style does for the calls/s of a client.
_STYLE_OUTCOMES = {
    "better": "more",
    "worse": "fewer",
    "equal": "as many within the margin",
    "unclear": "unclear",
}

# What a way does, in the figure that it is judged by.
_WAY_OUTCOMES = {
    metric: {
        "better": f"{'more' if metric == 'throughput' else 'less'} {name}",
        "worse": f"{'fewer' if metric == 'throughput' else 'more'} {name}",
        "equal": f"the same {name} within the margin",
        "unclear": "unclear",
    }
    for metric, name in _METRICS.items()
}

Cell = tuple[str, str, str]


def verdict(report: Report) -> Verdict:
    """The words for a report whose comparisons are there."""
    caveats = list(_caveats(report))
    failed = [check for check in report.checks if not check.ok]
    if failed:
        reasons = "; ".join(f"{check.name}: {check.says}" for check in failed)
        return Verdict(
            [f"This run cannot be trusted, so it claims nothing. {reasons}."], {}, caveats, trusted=False
        )
    if len(report.results) == 0:
        return Verdict([], {}, caveats)
    cells: dict[Cell, list[Comparison]] = {}
    for each in report.comparisons:
        cells.setdefault((each.workload, each.client, each.style), []).append(each)
    several = len({client for _, client, _ in cells}) > 1
    text = [_sentence(cell, claims, report, several=several) for cell, claims in cells.items()]
    if text:
        text.append(_condition(report))
    text += _styles(report)
    text += [sentence for kind in variants.measured(report) for sentence in ways(report, kind)]
    winners = {_name(cell, several=several): _standing(claims) for cell, claims in cells.items()}
    return Verdict(text, winners, caveats)


def _name(cell: Cell, *, several: bool) -> str:
    workload, client, style = cell
    return f"{workload}, {style}, {client} client" if several else f"{workload}, {style}"


def _standing(claims: Sequence[Comparison]) -> list[str]:
    """Those of which none was shown to be worse than the best."""
    return sorted({claims[0].best, *(each.backend for each in claims if each.outcome != "worse")})


def _sentence(cell: Cell, claims: Sequence[Comparison], report: Report, *, several: bool) -> str:
    best, metric = claims[0].best, _METRICS[claims[0].metric]
    equal = sorted([best, *(each.backend for each in claims if each.outcome == "equal")])
    worse = [each for each in claims if each.outcome == "worse"]
    unclear = [each for each in claims if each.outcome == "unclear"]
    question = QUESTIONS.get(cell[0], f"for {cell[0]}")
    lead = f"{question[0].upper()}{question[1:]} ({_name(cell, several=several)})"
    if len(equal) == len(claims) + 1:
        return f"{lead}: any; {_listed(equal)} are equal within {report.design.margin:.0%} in {metric}{_bound(cell, report)}."
    parts = []
    if worse and unclear:
        # What is not shown to be worse is not shown to be as good either.
        parts += [f"not {each.backend}, which has {_ratio(each)} of {best}'s {metric}" for each in worse]
    elif worse:
        parts.append(f"choose {_listed(_standing(claims), 'or')}")
        parts += [f"{each.backend} has {_ratio(each)} of {best}'s {metric}" for each in worse]
    else:
        parts.append(_unshown(metric, max(each.detectable for each in unclear)))
    if len(equal) > 1:
        parts.append(f"{_listed(equal)} are equal")
    if worse and unclear:
        parts += [
            f"beside {best}, {', '.join(f'{each.backend} {_ratio(each)}' for each in unclear)} is unclear"
        ]
    return f"{lead}: {'; '.join(parts)}{_bound(cell, report)}."


def _unshown(metric: str, blind: float) -> str:
    if blind > 1:
        return f"no difference in {metric} was shown, but the run was too noisy to show any"
    return f"no difference in {metric} was shown; one of {blind:.0%} would have been in four runs of five"


def _ratio(claim: Comparison | StyleComparison | WayComparison) -> str:
    low, high = claim.interval
    return f"{claim.ratio:.2f} ({low:.2f}..{high:.2f})"


def _listed(names: Sequence[str], word: str = "and") -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} {word} {names[-1]}"


def _bound(cell: Cell, report: Report) -> str:
    """For a closed loop whose generator was the limit, what can be said of its calls/s."""
    results = [each for each in report.results if (each.workload, each.client, each.style) == cell]
    limited = [each for each in results if client_limited(each) and each.loop == "closed"]
    if not limited or cell[0] in ("lone", "idle"):
        return ""
    least = min(each.throughput for each in limited)
    return f"; the {cell[1]} client was the limit, the servers can do at least {least:,.0f} calls/s"


def _styles(report: Report) -> Iterator[str]:
    """Blocking or asynchronous calls, of the same backend and client."""
    found: dict[tuple[str, str], list[StyleComparison]] = {}
    for each in report.styles:
        found.setdefault((each.workload, each.client), []).append(each)
    for (workload, client), claims in found.items():
        lead = f"Calls/s of {workload} by {claims[0].style}, beside {claims[0].than}, {client} client"
        yield f"{lead}: {_parts(claims, _STYLE_OUTCOMES)}."


def ways(report: Report, kind: Kind) -> Iterator[str]:
    """What each way of a workload costs or gives."""
    for prices in variants.prices(report):
        for way in prices.ways if prices.kind is kind else ():
            claims = [found[way] for found in prices.claims.values() if way in found]
            lead = f"{kind.workload} with {way}, beside {kind.plain} ({prices.style}, {prices.client} client)"
            parts = "; ".join(
                _parts([each for each in claims if each.metric == metric], _WAY_OUTCOMES[metric])
                for metric in dict.fromkeys(each.metric for each in claims)
            )
            yield f"{lead}: {parts}{_least(claims, report)}."


def _parts(claims: Sequence[StyleComparison | WayComparison], words: dict[str, str]) -> str:
    parts = []
    for outcome, word in words.items():
        those = [each for each in claims if each.outcome == outcome]
        named = [each.backend if outcome == "equal" else f"{each.backend} {_ratio(each)}" for each in those]
        if named:
            parts.append(f"{word} on {_listed(named)}")
    return "; ".join(parts)


def _least(claims: Sequence[WayComparison], report: Report) -> str:
    """Of which of the better ones the load generator was the limit, so that they may be better yet."""
    better = {
        (variants.row(each.workload, each.way), each.client, each.style, each.backend)
        for each in claims
        if each.outcome == "better" and each.metric != "server_cpu"
    }
    limited = [
        each.backend
        for each in report.results
        if (each.workload, each.client, each.style, each.backend) in better and client_limited(each)
    ]
    return f"; at least, as the load generator was the limit, on {_listed(limited)}" if limited else ""


def _condition(report: Report) -> str:
    here, design = report.environment, report.design
    sure = f"Sure at {design.confidence:.0%} for all claims of this run together"
    pinned = f"; {design.pinned}" if design.pinned else ""
    return (
        f"{sure}; on {here.cpus} CPU{'' if here.cpus == 1 else 's'}, {_processes(report)}, {here.implementation} {here.python}, "
        f"{design.rounds} rounds{pinned}."
    )


def _processes(report: Report) -> str:
    most = max(each.servers for each in report.results)
    return "one server process" if most == 1 else f"one server process, of balanced calls up to {most}"


def _caveats(report: Report) -> Iterator[str]:
    windows = [made for result in report.results for made in result.rounds]
    for name, cells in report.design.lacking.items():
        yield f"No line of {name}, which has nothing for it: {'; '.join(cells)}."
    if report.environment.quick and windows:
        yield "A quick run is indicative: short windows, few rounds."
    if 0 < report.design.rounds < 5:
        yield "Fewer than five rounds cannot tell a difference of 10 % from noise."
    spoilt = sum(bool(made.contaminated) for made in windows)
    if spoilt > len(windows) / 10:
        yield f"Noisy: {spoilt} of {len(windows)} windows were disturbed by other programs or the hypervisor."
    before = report.environment.load_before
    if windows and before is not None and before[0] > BUSY * report.environment.cpus:
        yield (
            "The load was that high before the run began: other programs may have moved its figures far. Repeat it when they rest."
        )
    for kind in variants.measured(report):
        yield from variants.counted(report, kind)
    unsteady = sum(not made.steady for made in windows)
    if unsteady > len(windows) / 4:
        yield f"Not steady: in {unsteady} of {len(windows)} windows the halves differ by more than 10 %."
    for result in report.results:
        what = f"{result.backend} in {result.workload}, {result.style}, {result.client} client"
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


def _late(result: Result, what: str) -> Iterator[str]:
    """A generator that could not send in time has measured itself."""
    if result.loop == "open" and result.limit == "client" and result.slip is not None:
        yield f"Sent late: {what}: p99 of how late is {milliseconds(result.slip.p99)} ms."
