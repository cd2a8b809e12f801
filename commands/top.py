"""`ringback top`: what a server does at the moment, from two looks at its `ringback.stats` some time apart.

`between` makes figures of the two looks and `table` shows them; only `watch` calls, waits and prints.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ..server.methods.statistics import seconds_at
from ..terminal import printable

Look = Mapping[str, Any]


class MethodRow(NamedTuple):
    """One method: calls that end a second, those in flight, errors and refusals a second, and response times, in seconds (None where no
    call ended); and of the calls for what a method with a cache keeps, the part that was answered without a run of their own."""

    method: str
    rate: float
    in_flight: int
    errors: float
    refused: float
    p50: float | None
    p99: float | None
    hit_rate: float | None = None


def between(before: Look, after: Look) -> list[MethodRow]:
    """The methods that had calls, the busiest first."""
    seconds = after["seconds"] - before["seconds"]
    rows = []
    for name, now in after["methods"].items():
        then = before["methods"][name]
        if not (now["calls"] or now["in_flight"] or now["refused"]) or name == "ringback.stats":
            continue
        rate, errors, refused = ((now[key] - then[key]) / seconds for key in ("calls", "errors", "refused"))
        times = [
            many - old for many, old in zip(now["times"], _padded(then["times"], now["times"]), strict=True)
        ]
        p50, p99 = percentile(times, 0.5), percentile(times, 0.99)
        hits = _hit_rate(then.get("cache"), now.get("cache"))
        rows.append(MethodRow(name, rate, now["in_flight"], errors, refused, p50, p99, hits))
    return sorted(rows, key=lambda row: (-row.rate, row.method))


def percentile(times: Sequence[int], part: float) -> float | None:
    """Of what `MethodStatistics` has counted, in seconds; None where nothing is counted."""
    left = part * sum(times)
    for index, many in enumerate(times):
        left -= many
        if many and left <= 1e-9:
            return seconds_at(index)
    return None


def _hit_rate(then: Mapping[str, int] | None, now: Mapping[str, int] | None) -> float | None:
    if then is None or now is None:
        return None
    hits = sum(now[key] - then[key] for key in ("hits", "stale", "shared"))
    asked = hits + now["misses"] - then["misses"]
    return hits / asked if asked else None


def _padded(short: Sequence[int], long: Sequence[int]) -> list[int]:
    return [*short, *[0] * (len(long) - len(short))]


def table(before: Look, after: Look) -> RenderableType:
    """All that there is to see."""
    rows = between(before, after)
    head = (
        f"{after['service']} on {after['backend']}, process {after['process']}, up {_duration(after['seconds'])}: "
        f"{sum(row.rate for row in rows):,.0f} calls/s, {after['in_flight']:,} in flight, {after['clients']:,} clients"
    )
    shown = Table(box=None, pad_edge=False, header_style="bold")
    shown.add_column("method")
    for name in ("calls/s", "in flight", "p50 ms", "p99 ms", "errors/s", "refused/s"):
        shown.add_column(name, justify="right")
    cached = any("cache" in method for method in after["methods"].values())
    if cached:
        shown.add_column("hits %", justify="right")
    for row in rows:
        shown.add_row(
            Text(printable(row.method)),
            f"{row.rate:,.0f}",
            f"{row.in_flight:,}",
            _milliseconds(row.p50),
            _milliseconds(row.p99),
            f"{row.errors:,.0f}",
            f"{row.refused:,.0f}",
            *["-" if row.hit_rate is None else f"{100 * row.hit_rate:.0f}"][: int(cached)],
        )
    return Group(Text(printable(head), style="bold"), *(Text(line) for line in _scheduling(after)), shown)


def _scheduling(look: Look) -> Iterator[str]:
    """What is taken of what there is, and what waits for it."""
    for what, amounts in (("workers", look["workers"]), ("resources", look["resources"])):
        if amounts:
            yield f"{what}: " + ", ".join(_share(name, each) for name, each in amounts.items())
    if look["limits"]:
        yield "limits: " + ", ".join(
            f"{name} {each['taken']:g} of {each['limit']:g}{' (learned)' * each['learned']}"
            for name, each in look["limits"].items()
        )
    if look["waiting"]:
        waiting = sorted(look["waiting"].items(), reverse=True)
        yield "waiting by priority: " + ", ".join(f"{priority}: {many:,}" for priority, many in waiting)


def _share(name: str, amounts: Mapping[str, float]) -> str:
    return f"{name} {min(amounts['taken'], amounts['total']):g} of {amounts['total']:g}"


def _milliseconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1000:,.2f}" if seconds < 1 else f"{seconds * 1000:,.0f}"


def _duration(seconds: float) -> str:
    hours, rest = divmod(int(seconds), 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}"


def watch(client: Any, interval: float) -> Generator[Any, Any, None]:
    """Until Ctrl-C on a terminal; elsewhere once. `interval` is the seconds between two looks."""
    console = Console()
    before = yield client.call("ringback.stats")
    with Live(console=console, auto_refresh=False, screen=console.is_terminal) as live:
        while True:
            time.sleep(interval)
            after = yield client.call("ringback.stats")
            if after["process"] != before["process"]:
                before = after  # another server: there is nothing to compare with
                continue
            if not console.is_terminal:
                console.print(table(before, after), soft_wrap=True)
                return
            live.update(table(before, after), refresh=True)
            before = after
