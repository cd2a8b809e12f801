"""The report for a person in a terminal: what to make of it, a table for each workload, client and style, and what else is to be known."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import median
from typing import NamedTuple

from msgspec.structs import astuple
from rich.console import Console, RenderableType
from rich.measure import Measurement
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ..load.plan import STYLES
from ..results import Claim, Latency, Report, Result
from ..statistics.figures import FIGURES, told
from ..workloads import variants
from ..workloads.counters import READS, TWICE
from ..workloads.table import ITEMS, SLOW
from ..workloads.table import place as where
from .difference import Changes
from .verdict import of_best

BEST = "*"
_SIGNS = {"better": "+", "equal": "=", "worse": "-", "unclear": "?"}
# Before a ratio, which figure it is of, where it is not of calls/s.
_SHORT = {"throughput": "", "server_cpu": "CPU "}
_INDENT = 4
# Where no terminal bounds them.
WIDE = 200


def place(result: Result) -> tuple[int, str, int, str]:
    """Where it stands among others: by workload, client, style, arm."""
    return (where(result.workload), result.client, STYLES.index(result.style), result.arm)


def view(report: Report, width: int = WIDE) -> Iterator[RenderableType]:
    """The whole report, for a terminal of that width in characters; without results, only the remarks."""
    if report.results:
        yield from map(Text, _head(report))
        yield Text()
    for text in report.verdict.text:
        yield Text(text, "bold")
    groups: dict[tuple[str, str, str], list[Result]] = {}
    for result in report.results:
        groups.setdefault((result.workload, result.client, result.style), []).append(result)
    contests = report.contests() if report.verdict.trusted else {}
    titled = ""
    references = list(report.peers)
    for (workload, client, style), results in groups.items():
        if workload != titled:
            titled = workload
            yield Text()
            yield Text(
                f"{workload}: {report.design.explanations.get(workload, '')} ({_load(results, report)})",
                "bold",
            )
        peers = [each for each in references if (each.workload, each.style) == (workload, style)]
        references = [each for each in references if each not in peers]  # once, not for each client
        yield Text(f"  {style}, {client} client", "dim")
        group = [*results, *peers]
        table, counted = _Columns.of(group).fitting(group, contests.get((workload, client, style), []), width)
        yield table
        for each in group:
            details = _details(each, counted=counted)
            yield from (Text(f"{' ' * _INDENT}{each.arm}: {text}", "dim") for text in details)
    yield from _ways(report, width)
    yield from _searches(report)
    yield Text()
    yield from (Text(text, "dim") for text in (*report.verdict.caveats, *_remarks(report)))


def changed(changes: Changes) -> Iterator[RenderableType]:
    """What is different after, beside before, and what of it to believe."""
    if changes.differences:
        left = ("", "figure", "after beside before")
        table = _table("", "figure", "before", "after", "after beside before", left=left, wrapped=left[:2])
        for each in changes.differences:
            figure = FIGURES[each.figure]
            ratio = f"{each.ratio:.2f}"
            if each.interval is not None:
                ratio += f" ({each.interval[0]:.2f}..{each.interval[1]:.2f}) {each.outcome}"
            style = "bold" if each.outcome in ("better", "worse") else ""
            cells = (
                f"{each.workload}, {each.style}: {each.name}",
                figure.title,
                figure.text(each.before),
                figure.text(each.after),
                ratio,
            )
            _add(table, *cells, style=style)
        yield Text()
        yield table
    if changes.differences or changes.untold:
        yield Text()
    yield from (Text(text, "bold") for text in changes.remarks)
    yield from (Text(text, "dim") for text in changes.omitted())


def _table(*titles: str, left: Sequence[str], wrapped: Sequence[str] = ()) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    for title in titles:
        table.add_column(title, justify="left" if title in left else "right", no_wrap=title not in wrapped)
    return table


def _add(table: Table, *cells: str, style: str = "") -> None:
    """A row of plain text: brackets in a name are no markup."""
    table.add_row(*map(Text, cells), style=style)


class _Column(NamedTuple):
    title: str
    text: Callable[[Result], str]


class _Columns(NamedTuple):
    """Behind the name, calls/s, the comparison and times, those that a group has anything for; `cost` and `counts` may be missing."""

    cost: _Column
    rest: list[_Column]
    counts: list[_Column]

    @classmethod
    def of(cls, results: Sequence[Result]) -> _Columns:
        rest = [_Column("limit", lambda each: "void" if each.void else each.limit)]
        # What is 0 everywhere can be missed without a word.
        if any(each.errors or each.wrong for each in results):
            rest += [
                _Column("errors", lambda each: f"{each.errors:,}"),
                _Column("wrong", lambda each: f"{each.wrong:,}"),
            ]
        counts = []
        if any(each.consistency for each in results):
            counts += [
                _Column(name, _counted(place)) for place, name in enumerate(("lost", "duplicated", "stale"))
            ]
        if any(each.balance for each in results):
            counts += [_Column(name, _spread(place)) for place, name in enumerate(("slow got", "twice"))]
        cost = _Column("server us", lambda each: FIGURES["server_cpu"].text(each.server_cpu))
        return cls(cost, rest, counts)

    def fitting(
        self, results: Sequence[Result], claims: Sequence[Claim], width: int
    ) -> tuple[RenderableType, bool]:
        """The table of one group, and whether it has the counts. Where it is too wide, first what a call costs is left out, then
        intervals, then the counts."""
        for left_out in range(4):
            columns = [
                *([self.cost] if left_out < 1 else []),
                *self.rest,
                *(self.counts if left_out < 3 else []),
            ]
            table = self._group(results, claims, columns, interval=left_out < 2)
            if _wide(table) <= width:
                break
        return table, left_out < 3

    def _group(
        self,
        results: Sequence[Result],
        claims: Sequence[Claim],
        columns: Sequence[_Column],
        *,
        interval: bool,
    ) -> RenderableType:
        head = ("", "calls/s", "beside best", "p50 ms", "p99 ms", *(each.title for each in columns))
        table = _table(*head, left=("", "beside best", "limit"))
        best = claims[0].arm if claims else ""
        beside = {each.against: each.turned() for each in of_best(claims)}
        for each in results:
            name = f"({each.backend})" if each.peer else each.arm
            against = (
                f"reference{', own client' * interval}"
                if each.peer
                else BEST
                if each.arm == best
                else _ratio(beside.get(each.arm), interval)
            )
            times = ("overloaded", "") if each.overloaded else _times(told(each.latency, each.calls))
            cells = (
                name,
                FIGURES["throughput"].text(each.throughput),
                against,
                *times,
                *(column.text(each) for column in columns),
            )
            _add(table, *cells, style="dim" if each.peer else "bold" if each.arm == best else "")
            for method, found in {} if each.protect else each.methods.items():
                _add(
                    table,
                    f"  of which {method}",
                    "",
                    "",
                    *_times(told(found, each.calls * share(each, method))),
                    style="dim",
                )
        return Padding(table, (0, 0, 0, _INDENT), expand=False)


def _wide(table: RenderableType) -> int:
    console = Console(width=10 * WIDE)
    return Measurement.get(console, console.options, table).maximum


def _counted(place: int) -> Callable[[Result], str]:
    return lambda each: "" if each.consistency is None else f"{astuple(each.consistency)[place]:,}"


def _spread(place: int) -> Callable[[Result], str]:
    return lambda each: "" if each.balance is None else f"{astuple(each.balance)[place]:.1%}"


def _times(latency: Latency) -> tuple[str, str]:
    return FIGURES["p50"].text(latency.p50), FIGURES["p99"].text(latency.p99)


def _ratio(claim: Claim | None, interval: bool = True) -> str:
    if claim is None:
        return ""
    spread = f" ({claim.low:.2f}..{claim.high:.2f})" if interval else ""
    return f"{_SHORT.get(claim.figure, f'{claim.figure} ')}{claim.ratio:.2f}{spread} {_SIGNS[claim.verdict]}"


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


def _ways(report: Report, width: int) -> Iterator[RenderableType]:
    """What each way of a workload costs or gives."""
    titled = ""
    for prices in variants.prices(report):
        if prices.kind.workload != titled:
            titled = prices.kind.workload
            yield Text()
            plain = prices.kind.plain
            yield Text(f"{titled}: calls/s, or what stands before the ratio, beside {plain}", "bold")
        yield Text(f"  {prices.style}, {prices.client} client", "dim")
        for interval in (True, False):
            table = _table("", *prices.ways, left=("", *prices.ways))
            for arm, claims in prices.claims.items():
                _add(table, arm, *(_ratio(claims.get(way), interval) for way in prices.ways))
            padded = Padding(table, (0, 0, 0, _INDENT), expand=False)
            if _wide(padded) <= width:
                break
        yield padded


def _details(result: Result, *, counted: bool) -> Iterator[str]:
    """What is worth knowing of some workloads alone, and what went wrong; without what is `counted` in the table."""
    if result.memory.per_connection is not None:
        yield f"{result.memory.per_connection / 1024:.1f} KiB of the server's memory for each connection"
    if result.rate is not None and result.rate.peak:
        part = result.throughput / result.rate.peak
        yield f"{part:.0%} of the {result.rate.peak:,.0f} calls/s that it does when callers wait"
    if result.workload == "stream":
        yield f"{result.throughput * ITEMS:,.0f} items/s"
    if result.consistency is not None and not counted:
        yield variants.said(result.consistency) or "consistent"
    if result.balance is not None and not counted:
        yield f"{result.balance.slow_share:.1%} to the slow server, {result.balance.sent_twice:.1%} sent twice"
    if result.errors_by_code:
        yield f"errors: {codes(result.errors_by_code)}"
    if result.wrong and result.why:
        yield f"wrong: {result.why}"


def share(result: Result, method: str) -> float:
    """The part of the cell's calls that are of one method."""
    if result.workload == "mixed":
        return SLOW if method == "cpu" else 1 - SLOW
    if result.protect:
        read = READS / (1 + TWICE)
        return read if method == "total_of" else 1 - read
    return 1 / len(result.methods)


def codes(errors: Mapping[str, int]) -> str:
    """Errors by their code."""
    return ", ".join(f"{number:,} {code}" for code, number in errors.items())


def _searches(report: Report) -> Iterator[Text]:
    if report.searches:
        yield Text()
        yield Text("the highest rates that kept the objective", "bold")
    for each in report.searches:
        fails = "no rate failed" if each.fails is None else f"failed at {each.fails:,.0f}"
        passes = f"{each.passes:,.0f} calls/s" if each.passes else "none"
        yield Text(
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
                f"{BEST} best of its group, by calls/s or by what stands before the ratio. = equal within {design.margin:.0%}, - worse, "
                f"? unclear; above 1 is better, whatever the figure. {design.confidence:.0%} intervals over rounds, corrected for all "
                "claims of the run where sure, else for those of the cell."
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
            "Closed loop: request-reply has a caller for each call in flight, fire-and-callback one for all; a call that waits delays its "
            "caller's next one."
        )
    if "open" in loops:
        yield (
            f"Open loop: calls come when they are due ({report.design.arrivals} arrivals), whatever became of others; response times "
            "count from then."
        )
    yield "Limit: what the figure is bound by."


def _handlers(report: Report) -> str:
    workers = report.design.workers
    ours = any(each.workload != "scenario" for each in report.results)
    return (
        f"Handlers: {'echo runs on the event loop; the ' * ours}unmarked defs on gevent in up to {workers} greenlets, elsewhere in up to "
        f"{workers} threads (--workers {workers})."
    )
