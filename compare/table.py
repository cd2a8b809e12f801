"""The report as lines for a person: a group for each workload, client and style, a row for each backend, then what to make of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from .difference import Changes
from .measured import enough
from .plan import STYLES
from .results import Comparison, Environment, Report, Result
from .workloads import ITEMS, WORKLOADS

BEST = "*"
_SIGNS = {"better": "+", "equal": "=", "worse": "-", "unclear": "?"}

# The load for each CPU from which a run is called disturbed. A run that has just ended counts too, hence "may".
BUSY = 0.75

_HEAD = f"{'calls/s':>10}  {'vs best':<24}{'p50 ms':>9}{'p99 ms':>9}{'server us':>11}  {'limit':<8}{'errors':>7}{'wrong':>6}"


class Line(NamedTuple):
    """A line of text; `style` is for a terminal and says nothing that the text does not."""

    text: str
    style: str = ""


def lines(report: Report) -> Iterator[Line]:
    """The whole table; without results, only the remarks."""
    if report.results:
        yield from map(Line, _head(report))
    groups: dict[tuple[str, str, str], list[Result]] = {}
    for result in report.results:
        groups.setdefault((result.workload, result.client, result.style), []).append(result)
    titled = ""
    for (workload, client, style), results in groups.items():
        if workload != titled:
            titled = workload
            yield Line("")
            yield Line(f"{workload}: {report.design.explanations.get(workload, '')}", "bold")
        peers = [each for each in report.peers if (each.workload, each.style) == (workload, style)]
        claims = [
            each
            for each in report.comparisons
            if (each.workload, each.client, each.style) == (workload, client, style)
        ]
        yield from _group(f"{style}, {client} client", results, claims, peers)
    yield from _searches(report)
    yield Line("")
    for text in report.verdict.text:
        yield Line(text, "bold" if not report.verdict.trusted else "")
    for text in (*report.verdict.caveats, *_remarks(report)):
        yield Line(text, "dim")


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
        unit = (lambda value: f"{value:,.0f}") if each.metric == "throughput" else milliseconds
        low, high = each.interval
        name = {"throughput": "calls/s", "server_cpu": "server ms"}.get(each.metric, f"{each.metric} ms")
        yield Line(
            f"  {each.backend:<14}{name:<12}{unit(each.before):>12}{unit(each.after):>12}  "
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
    windows = [made for result in report.results for made in result.rounds]
    spoilt = sum(bool(made.contaminated) for made in windows)
    noise = "no twin, so no noise floor"
    if report.twin is not None:
        low, high = report.twin.interval
        noise = f"a backend against itself {report.twin.ratio:.3f} ({low:.3f}..{high:.3f})"
    failed = [check.name for check in report.checks if not check.ok]
    checks = f"failed: {', '.join(failed)}" if failed else "ok" if report.checks else "none"
    yield f"noise: {noise}; windows disturbed: {spoilt} of {len(windows)}; checks: {checks}"


def place(result: Result) -> tuple[int, str, int, str]:
    """Where it stands among others: by workload, client, style, backend."""
    names = list(WORKLOADS)
    number = names.index(result.workload) if result.workload in names else len(names)
    return (number, result.client, STYLES.index(result.style), result.backend)


def _group(
    title: str, results: list[Result], claims: list[Comparison], peers: list[Result]
) -> Iterator[Line]:
    yield Line(f"  {title:<36}{_HEAD}", "dim")
    best = _best(results, claims)
    beside = {claim.backend: _claim(claim) for claim in claims}
    for result in results:
        wins = result.backend == best
        yield _row(
            result, result.backend, BEST if wins else beside.get(result.backend, ""), "bold" if wins else ""
        )
        yield from _details(result)
    for peer in peers:
        yield _row(peer, f"({peer.backend})", "reference, own client", "dim")


def _best(results: list[Result], claims: list[Comparison]) -> str:
    """The backend that the others are compared with. What is partly wrong, or failed, wins nothing: doing less is fast."""
    if claims:
        return claims[0].best
    sound = [
        result for result in results if result.sound and not result.overloaded and result.limit != "client"
    ]
    if len(results) < 2 or not sound:
        return ""
    if sound[0].loop == "open":
        return min(sound, key=lambda result: result.latency.p99 or 0.0).backend
    return max(sound, key=lambda result: result.throughput).backend


def _row(result: Result, name: str, against: str, style: str) -> Line:
    p99 = result.latency.p99 if enough(result.calls, 0.99, 20) else None
    times = (
        f"{'overloaded':>18}"
        if result.overloaded
        else f"{milliseconds(result.latency.p50):>9}{milliseconds(p99):>9}"
    )
    cost = result.cpu.server_per_call
    limit = "void" if result.void else result.limit
    return Line(
        f"    {name:<34}{result.throughput:>10,.0f}  {against:<24}{times}"
        f"{'-' if cost is None else f'{cost * 1e6:,.1f}':>11}  {limit:<8}{result.errors:>7,}{result.wrong:>6,}",
        style,
    )


def _details(result: Result) -> Iterator[Line]:
    """What is worth knowing of some workloads alone."""
    for method, found in result.methods.items():
        yield Line(
            f"      {f'of which {method}':<67}{milliseconds(found.p50):>9}{milliseconds(found.p99):>9}", "dim"
        )
    if result.memory.per_connection is not None:
        yield Line(
            f"      {result.memory.per_connection / 1024:.1f} KiB of the server's memory for each connection",
            "dim",
        )
    if result.workload == "stream":
        yield Line(f"      {result.throughput * ITEMS:,.0f} items/s", "dim")


def _claim(claim: Comparison) -> str:
    low, high = claim.interval
    metric = {"throughput": "", "server_cpu": "CPU "}.get(claim.metric, f"{claim.metric} ")
    return f"{metric}{claim.ratio:.2f} ({low:.2f}..{high:.2f}) {_SIGNS[claim.outcome]}"


def milliseconds(seconds: float | None) -> str:
    """For a person to read."""
    if seconds is None:
        return "-"
    return f"{seconds * 1000:,.2f}" if seconds >= 1e-4 else f"{seconds * 1000:,.4f}"


def _searches(report: Report) -> Iterator[Line]:
    if report.searches:
        yield Line("")
        yield Line("the highest rates that kept the objective", "bold")
    for each in report.searches:
        fails = "no rate failed" if each.fails is None else f"failed at {each.fails:,.0f}"
        passes = f"{each.passes:,.0f} calls/s" if each.passes else "none"
        yield Line(
            f"    {each.backend:<12}{each.workload}, {each.style}, {each.client} client, round {each.round}: "
            f"{each.objective} at {passes}, {fails}"
        )


def _remarks(report: Report) -> Iterator[str]:
    here, design = report.environment, report.design
    if not report.results:
        yield "Nothing was measured."
    else:
        yield (
            f"{BEST} best of its group, by calls/s or by what stands before the ratio, where calls/s do not tell backends apart.\n"
            f"= equal within {design.margin:.0%}, - worse, ? unclear; {design.confidence:.0%} intervals over rounds, corrected for all "
            "claims of the run."
        )
        yield _load(report)
        yield _handlers(here, design.workers)
        peers = {each.backend: each.difference for each in report.peers}
        yield from (f"({name}) {difference}." for name, difference in peers.items())
    if design.dropped:
        yield f"Left out, as there was no time for five rounds of it: {', '.join(design.dropped)}. Give more with --time."
    if report.skipped:
        names = ", ".join(report.skipped)
        yield f"Not measured, for want of the library: {names}. All of them: pip install 'ringback[all]'."


def _load(report: Report) -> str:
    here, many = report.environment, report.design.concurrency
    if report.design.loop == "open":
        return (
            f"Open loop: calls come when they are due ({report.design.arrivals} arrivals), {here.window:g} s a window; response times "
            "count from then."
        )
    return (
        f"Closed loop: {many} calls in flight (request-reply: {many} callers with one each; fire-and-callback: one caller with {many}\n"
        f"outstanding), {here.window:g} s a window; a call that waits delays its caller's next one. Limit: what the figure is bound by."
    )


def _handlers(here: Environment, workers: int) -> str:
    reactor = "" if here.twisted_reactor is None else f" Twisted's reactor: {here.twisted_reactor}."
    return (
        f"Handlers: echo runs on the event loop; the unmarked defs on gevent in up to {workers} greenlets, elsewhere in up to\n"
        f"{workers} threads (--workers {workers}).{reactor}"
    )
