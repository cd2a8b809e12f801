"""The report as lines for a person: a group for each workload, client and style, a row for each backend, then what to make of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from .plan import STYLES
from .results import Environment, Report, Result
from .workloads import WORKLOADS

BEST = "*"

# The load for each CPU from which a run is called disturbed. A run that has just ended counts too, hence "may".
BUSY = 0.75


class Line(NamedTuple):
    """A line of text; `style` is for a terminal and says nothing that the text does not."""

    text: str
    style: str = ""


def lines(report: Report, workers: int) -> Iterator[Line]:
    """The whole table; without results, only the remarks."""
    groups: dict[tuple[str, str, str], list[Result]] = {}
    for result in sorted(report.results, key=_place):
        groups.setdefault((result.workload, result.client, result.style), []).append(result)
    titled = ""
    for (workload, client, style), results in groups.items():
        if workload != titled:
            titled = workload
            yield Line("")
            yield Line(f"{workload}: {WORKLOADS[workload].explanation}", "bold")
        yield from _group(f"{style}, {client} client", results)
    yield Line("")
    for remark in _remarks(report, workers):
        yield Line(remark, "dim")


def _place(result: Result) -> tuple[int, str, int, str]:
    return (list(WORKLOADS).index(result.workload), result.client, STYLES.index(result.style), result.backend)


def _group(title: str, results: list[Result]) -> Iterator[Line]:
    yield Line(f"  {title:<36}{'calls/s':>9}  {'p50 ms':>8}{'p99 ms':>9}{'errors':>8}{'wrong':>7}", "dim")
    # What is partly wrong, or failed, wins nothing: doing less is fast.
    clean = [result for result in results if result.calls and not result.errors and not result.wrong]
    best = max(clean, key=lambda result: result.throughput) if clean and len(results) > 1 else None
    for result in results:
        mark = BEST if result is best else " "
        yield Line(
            f"    {result.backend:<34}{result.throughput:>9,.0f} {mark}"
            f"{_milliseconds(result.latency.p50):>8}{_milliseconds(result.latency.p99):>9}"
            f"{result.errors:>8,}{result.wrong:>7,}",
            "bold" if mark == BEST else "",
        )


def _milliseconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1000:,.2f}"


def _remarks(report: Report, workers: int) -> Iterator[str]:
    here = report.environment
    if not report.results:
        yield "Nothing was measured."
    else:
        yield (
            f"{BEST} most calls/s of its group. One run on {_machine(here)}:\n"
            "differences below about 10 % may be noise; server and client share these CPUs, and the slower of them sets the figure."
        )
        yield (
            f"Closed loop: {workers} calls in flight (request-reply: {workers} callers with one each; fire-and-callback: one caller\n"
            f"with {workers} outstanding), {here.window:g} s a cell; a call that waits delays its caller's next one."
        )
        yield _handlers(here, workers)
        if here.load_before is not None and here.load_before[0] > BUSY * here.cpus:
            yield "The load was that high before the run began: other programs may have moved its figures far. Repeat it when they rest."
    if report.skipped:
        names = ", ".join(report.skipped)
        yield f"Not measured, for want of the library: {names}. All of them: pip install 'ringback[all]'."


def _machine(here: Environment) -> str:
    load = "" if here.load_before is None else f", load {here.load_before[0]:.1f} before"
    plural = "" if here.cpus == 1 else "s"
    return f"{here.cpus} CPU{plural} ({here.cpu_model}), {here.implementation} {here.python}{load}"


def _handlers(here: Environment, workers: int) -> str:
    reactor = "" if here.twisted_reactor is None else f" Twisted's reactor: {here.twisted_reactor}."
    return (
        f"Handlers: echo runs on the event loop; the unmarked defs on gevent in up to {workers} greenlets, elsewhere in up to\n"
        f"{workers} threads (--workers {workers}).{reactor}"
    )
