"""The report as lines for a person: a group for each workload, client and style, a row for each arm, then what to make of it."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median
from typing import NamedTuple

from ..load.plan import STYLES
from ..results import Claim, Report, Result
from ..statistics.figures import told
from ..workloads import variants
from ..workloads.counters import READS, TWICE
from ..workloads.table import ITEMS, SLOW
from ..workloads.table import place as where
from .columns import BEST, Columns
from .columns import milliseconds as milliseconds  # the verdict has it from here
from .difference import Changes


class Line(NamedTuple):
    """A line of text; `style` is for a terminal and says nothing that the text does not."""

    text: str
    style: str = ""


def lines(report: Report, width: int | None = None) -> Iterator[Line]:
    """The whole table, for a terminal of that width; without results, only the remarks."""
    if report.results:
        yield from map(Line, _head(report))
        yield Line("")
    for text in report.verdict.text:
        yield Line(text, "bold")
    columns = Columns.fitting(width, [*report.results, *report.peers])
    groups: dict[tuple[str, str, str], list[Result]] = {}
    for result in report.results:
        groups.setdefault((result.workload, result.client, result.style), []).append(result)
    contests = report.contests() if report.verdict.trusted else {}
    titled = ""
    references = list(report.peers)
    for (workload, client, style), results in groups.items():
        if workload != titled:
            titled = workload
            yield Line("")
            yield Line(
                f"{workload}: {report.design.explanations.get(workload, '')} ({_load(results, report)})",
                "bold",
            )
        peers = [each for each in references if (each.workload, each.style) == (workload, style)]
        references = [each for each in references if each not in peers]  # once, not for each client
        claims = contests.get((workload, client, style), [])
        best = claims[0].arm if claims else ""
        yield from _group(columns, f"{style}, {client} client", results, best, claims, peers)
    yield from _ways(columns, report)
    yield from _searches(report)
    yield Line("")
    for text in (*report.verdict.caveats, *_remarks(report)):
        # A terminal breaks lines where it ends.
        yield Line(text if width is None else text.replace("\n", " "), "dim")


def changed(changes: Changes) -> Iterator[Line]:
    """What is different after, compared with before, and what of it to believe."""
    titled = ""
    for each in changes.differences:
        title = f"{each.workload}, {each.style}, {each.client} client"
        if title != titled:
            titled = title
            yield Line("")
            yield Line(title, "bold")
            yield Line(f"  {'':<14}{'':<12}{'before':>12}{'after':>12}  after / before", "dim")
        unit = (lambda value: f"{value:,.0f}") if each.figure == "throughput" else milliseconds
        low, high = each.interval
        name = {"throughput": "calls/s", "server_cpu": "server ms"}.get(each.figure, f"{each.figure} ms")
        yield Line(
            f"  {each.arm:<14}{name:<12}{unit(each.before):>12}{unit(each.after):>12}  "
            f"{each.ratio:.2f} ({low:.2f}..{high:.2f}) {each.outcome}",
            "bold" if each.outcome in ("better", "worse") else "",
        )
    if changes.differences or changes.untold:
        yield Line("")
    yield from (Line(text, "bold") for text in changes.remarks)
    yield from (Line(text, "dim") for text in changes.omitted())


def _head(report: Report) -> Iterator[str]:
    here, design = report.environment, report.design
    pinned = f"; {design.pinned}" if design.pinned else ""
    yield (
        f"ringback compare, seed {here.seed}, {design.rounds} round{'' if design.rounds == 1 else 's'}, "
        f"{here.implementation} {here.python}, "
        f"{here.cpus} CPU{'' if here.cpus == 1 else 's'} ({here.cpu_model}){pinned}"
    )
    failed = [check.name for check in report.checks if not check.ok]
    checks = f"failed: {', '.join(failed)}" if failed else "ok" if report.checks else "none"
    control = ", ".join(f"{each.figure} {each.ratio:.3f}" for each in report.twins) or "none"
    yield f"an arm beside itself: {control}; checks: {checks}"


def place(result: Result) -> tuple[int, str, int, str]:
    """Where it stands among others: by workload, client, style, arm."""
    return (where(result.workload), result.client, STYLES.index(result.style), result.arm)


def _group(
    columns: Columns,
    title: str,
    results: list[Result],
    best: str,
    claims: list[Claim],
    peers: list[Result],
) -> Iterator[Line]:
    yield from (Line(text, "dim") for text in columns.head(title))
    beside = {claim.against: columns.claim(claim.turned()) for claim in claims if claim.arm == best}
    for result in results:
        wins = result.arm == best
        against = BEST if wins else beside.get(result.arm, "")
        yield Line(columns.row(result.arm, against, result), "bold" if wins else "")
        yield from (Line(text, "dim") for text in _details(columns, result))
    for peer in peers:
        yield Line(columns.row(f"({peer.backend})", columns.reference, peer), "dim")
        yield from (Line(text, "dim") for text in _mistakes(peer))


def _ways(columns: Columns, report: Report) -> Iterator[Line]:
    """What each way of a workload costs or gives."""
    titled = ""
    for prices in variants.prices(report):
        if prices.kind.workload != titled:
            titled = prices.kind.workload
            yield Line("")
            plain = prices.kind.plain
            yield Line(f"{titled}: calls/s, or what stands before the ratio, beside {plain}", "bold")
        ways = prices.ways
        yield Line(f"  {prices.style}, {prices.client} client", "dim")
        yield Line(columns.ways("", ways), "dim")
        for arm, claims in prices.claims.items():
            against = [columns.claim(claims[way]) if way in claims else "" for way in ways]
            yield Line(columns.ways(arm, against))


def _details(columns: Columns, result: Result) -> Iterator[str]:
    """What is worth knowing of some workloads alone, and what went wrong."""
    for method, found in result.methods.items() if result.protect is None else ():
        yield columns.times(f"of which {method}", told(found, result.calls * share(result, method)))
    if result.memory.per_connection is not None:
        yield f"      {result.memory.per_connection / 1024:.1f} KiB of the server's memory for each connection"
    if result.rate is not None and result.rate.peak:
        part = result.throughput / result.rate.peak
        yield f"      {part:.0%} of the {result.rate.peak:,.0f} calls/s that it does when callers wait"
    if result.workload == "stream":
        yield f"      {result.throughput * ITEMS:,.0f} items/s"
    if result.consistency is not None and not columns.consistency:
        yield f"      {variants.said(result.consistency) or 'consistent'}"
    if result.balance is not None and not columns.balance:
        yield f"      {result.balance.slow_share:.1%} to the slow server, {result.balance.sent_twice:.1%} sent twice"
    yield from _mistakes(result)


def share(result: Result, method: str) -> float:
    """The part of the cell's calls that are of one method."""
    if result.workload == "mixed":
        return SLOW if method == "cpu" else 1 - SLOW
    if result.protect:
        read = READS / (1 + TWICE)
        return read if method == "total_of" else 1 - read
    return 1 / len(result.methods)


def _mistakes(result: Result) -> Iterator[str]:
    if result.errors_by_code:
        yield f"      errors: {codes(result)}"
    if result.wrong and result.why:
        yield f"      wrong: {result.why}"


def codes(result: Result) -> str:
    """Its errors by their code."""
    return ", ".join(f"{number:,} {code}" for code, number in result.errors_by_code.items())


def _searches(report: Report) -> Iterator[Line]:
    if report.searches:
        yield Line("")
        yield Line("the highest rates that kept the objective", "bold")
    for each in report.searches:
        fails = "no rate failed" if each.fails is None else f"failed at {each.fails:,.0f}"
        passes = f"{each.passes:,.0f} calls/s" if each.passes else "none"
        yield Line(
            f"    {each.arm:<12}{each.workload}, {each.style}, {each.client} client, round {each.round}: "
            f"{each.objective} at {passes}, {fails}"
        )


def _remarks(report: Report) -> Iterator[str]:
    design = report.design
    if not report.results:
        yield "Nothing was measured."
    else:
        if report.verdict.trusted:
            yield (
                f"{BEST} best of its group, by calls/s or by what stands before the ratio, where calls/s do not tell arms apart.\n"
                f"= equal within {design.margin:.0%}, - worse, ? unclear; above 1 is better, whatever the figure. {design.confidence:.0%} "
                "intervals over rounds, corrected for all claims of the run where sure, else for those of the cell."
            )
        yield from _loops(report)
        yield _handlers(report)
        if design.state:
            yield f"Counters in {design.state}."
        peers = {each.backend: each.difference for each in report.peers}
        yield from (f"({name}) {difference}." for name, difference in peers.items())
    if design.dropped:
        yield f"Left out, as there was no time for five rounds of it: {', '.join(design.dropped)}. Give more with --time."
    if report.skipped:
        names = ", ".join(report.skipped)
        yield f"Not measured, for want of the library: {names}. All of them: pip install 'ringback[all]'."


def _load(results: list[Result], report: Report) -> str:
    """How the calls of one workload come."""
    rates = [each.rate.offered for each in results if each.rate is not None]
    servers = f", {results[0].servers} servers" if results[0].servers > 1 else ""
    if not rates:
        many = results[0].concurrency
        return f"closed loop, {many:,} call{'' if many == 1 else 's'} in flight{servers}"
    if report.searches:
        return f"open loop, at the rates that were found{servers}"
    return f"open loop, {median(rates):,.0f} calls/s{servers}"


def _loops(report: Report) -> Iterator[str]:
    loops = {each.loop for each in report.results}
    if "closed" in loops:
        yield (
            "Closed loop: request-reply has a caller for each call in flight, fire-and-callback one for all; a call that waits delays\n"
            "its caller's next one."
        )
    if "open" in loops:
        yield (
            f"Open loop: calls come when they are due ({report.design.arrivals} arrivals), whatever became of others; response times "
            "count from then."
        )
    yield "Limit: what the figure is bound by."


def _handlers(report: Report) -> str:
    here, workers = report.environment, report.design.workers
    reactor = "" if here.twisted_reactor is None else f" Twisted's reactor: {here.twisted_reactor}."
    ours = any(each.workload != "scenario" for each in report.results)
    return (
        f"Handlers: {'echo runs on the event loop; the ' * ours}unmarked defs on gevent in up to {workers} greenlets, elsewhere in up to\n"
        f"{workers} threads (--workers {workers}).{reactor}"
    )
