"""The report for a terminal: verdict, a table for each workload, client and call style, caveats."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import median

from rich.console import Console, RenderableType
from rich.measure import Measurement
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ..load.plan import STYLES
from ..results import Claim, Report, Result
from ..statistics.figures import FIGURES, ratio
from ..workloads.table import place as where
from . import rows
from .difference import ReportChanges
from .names import contests, of_best

BEST = "*"
_SIGNS = {"better": "+", "equal": "=", "worse": "-", "unclear": "?"}
# The figure's name before a ratio, unless it is calls/s.
_SHORT = {"throughput": "", "server_cpu": "CPU "}
_RANKS = ("p50", "p99")
_INDENT = 4
# Width in characters if the output is not a terminal.
WIDE = 200


def place(result: Result) -> tuple[int, str, int, str]:
    """Sort key: workload, client, style, arm."""
    return (where(result.workload), result.client, STYLES.index(result.style), result.arm)


def view(report: Report, width: int = WIDE) -> Iterator[RenderableType]:
    """The whole report, for a terminal of this width in characters; only the caveats if it has no
    results."""
    if report.results:
        yield from map(Text, _head(report))
        yield Text()
    for text in report.verdict.text:
        yield Text(text, "bold")
    groups: dict[tuple[str, str, str], list[Result]] = {}
    for result in report.results:
        groups.setdefault((result.workload, result.client, result.style), []).append(result)
    claims = {(of[0].workload, of[0].client, of[0].style): of for of in contests(report).values()}
    titled = ""
    references = list(report.peers)
    for (workload, client, style), results in groups.items():
        if workload != titled:
            titled = workload
            yield Text()
            explanation = report.design.explanations.get(workload, "")
            yield Text(f"{workload}: {explanation} ({_load(results)})", "bold")
        peers = [each for each in references if (each.workload, each.style) == (workload, style)]
        references = [each for each in references if each not in peers]  # once, not for each client
        yield Text(f"  {style}, {client} client", "dim")
        yield _group([*results, *peers], claims.get((workload, client, style), []), width)
        for each in (*results, *peers):
            yield from (
                Text(f"{' ' * _INDENT}{each.arm}: {text}", "dim") for text in rows.details(each)
            )
    yield Text()
    if report.verdict.trusted and report.results:
        yield Text(_legend(report), "dim")
    yield from (Text(text, "dim") for text in report.verdict.caveats)


def changed(changes: ReportChanges) -> Iterator[RenderableType]:
    """The figures before and after, and the remarks on their reliability."""
    if changes.differences:
        yield Text()
        yield _shown(rows.changed(changes))
    if changes.differences or changes.not_compared:
        yield Text()
    yield from (Text(text, "bold") for text in changes.remarks)
    yield from (Text(text, "dim") for text in changes.omitted())


def _shown(table: rows.Table) -> Table:
    """The table for a terminal. The first two columns and the last are left-aligned; the first two
    may wrap."""
    words = (*table.head[:2], table.head[-1])
    shown = _table(*table.head, left=words, wrapped=table.head[:2])
    for row in table.rows:
        _add(shown, *row)
    return shown


def _table(*titles: str, left: Sequence[str], wrapped: Sequence[str] = ()) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    for title in titles:
        table.add_column(
            title, justify="left" if title in left else "right", no_wrap=title not in wrapped
        )
    return table


def _add(table: Table, *cells: str, style: str = "") -> None:
    """Add a row of plain text, so that brackets in a name are not taken for markup."""
    table.add_row(*map(Text, cells), style=style)


def _group(results: Sequence[Result], claims: Sequence[Claim], width: int) -> RenderableType:
    """The table of one group. If it is too wide, it leaves out first the costs, then the
    intervals."""
    for cost, interval in ((True, True), (False, True), (False, False)):
        table = Padding(_cells(results, claims, cost, interval), (0, 0, 0, _INDENT), expand=False)
        if _wide(table) <= width:
            break
    return table


def _cells(results: Sequence[Result], claims: Sequence[Claim], cost: bool, interval: bool) -> Table:
    head = ("", "calls/s", "vs best", "p50 ms", "p99 ms", *["server us"] * cost, "limit")
    table = _table(*head, left=("", "vs best", "limit"))
    best = claims[0].arm if claims else ""
    beside = {each.against: each.turned() for each in of_best(claims)}
    for each in results:
        if each.peer:
            name, against, style = (
                f"({each.backend})",
                f"reference{', own client' * interval}",
                "dim",
            )
        elif each.arm == best:
            name, against, style = each.arm, BEST, "bold"
        else:
            name, against, style = each.arm, _ratio(beside.get(each.arm), interval), ""
        calls = FIGURES["throughput"].text(each.throughput)
        costs = [FIGURES["server_cpu"].text(each.server_cpu)] * cost
        _add(
            table,
            name,
            calls,
            against,
            *rows.times(each, _RANKS),
            *costs,
            rows.limit(each),
            style=style,
        )
        for method, times in rows.methods(each, _RANKS).items():
            _add(table, f"  of which {method}", "", "", *times, style="dim")
    return table


def _wide(table: RenderableType) -> int:
    console = Console(width=10 * WIDE)
    return Measurement.get(console, console.options, table).maximum


def _ratio(claim: Claim | None, interval: bool) -> str:
    if claim is None:
        return ""
    text = ratio(claim.ratio, claim.low, claim.high) if interval else f"{claim.ratio:.2f}"
    return f"{_SHORT.get(claim.figure, f'{claim.figure} ')}{text} {_SIGNS[claim.verdict]}"


def _head(report: Report) -> Iterator[str]:
    here, design = report.environment, report.design
    pinned = f"; {design.pinned}" if design.pinned else ""
    yield (
        f"ringback compare, seed {here.seed}, {design.rounds} "
        f"round{'' if design.rounds == 1 else 's'}, "
        f"{here.implementation} {here.python}, "
        f"{here.cpus} CPU{'' if here.cpus == 1 else 's'} ({here.cpu_model}){pinned}"
    )
    failed = [check.name for check in report.checks if not check.ok]
    checks = f"failed: {', '.join(failed)}" if failed else "ok" if report.checks else "none"
    control = ", ".join(f"{each.figure} {each.ratio:.3f}" for each in report.twins) or "none"
    yield f"A/A control: {control}; checks: {checks}"


def _legend(report: Report) -> str:
    return (
        f"{BEST} best of its group, by calls/s or the figure named before the ratio. = equal "
        f"within {report.design.margin:.0%}, "
        f"- worse, ? unclear; a ratio above 1 is better, whatever the figure. "
        f"{report.design.confidence:.0%} intervals over rounds: "
        "sure ones are corrected for all claims of the run, others for those of the cell. Limit: "
        "the end that limits the figures."
    )


def _load(results: list[Result]) -> str:
    """The load of a workload, in words."""
    rates = [each.rate.offered for each in results if each.rate is not None]
    if not rates:
        many = results[0].concurrency
        return f"closed loop, {many:,} call{'' if many == 1 else 's'} in flight"
    return f"open loop, {median(rates):,.0f} calls/s"
