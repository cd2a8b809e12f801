"""The activity of servers, computed from two polls of their `ringback.stats`, and its display."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any, NamedTuple

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ...server.methods.statistics import seconds_at
from ...terminal import printable

Look = Mapping[str, Any]

# Columns, each with the field of `MethodRow` that it shows.
_COLUMNS = {
    "method": "method",
    "calls/s": "rate",
    "in flight": "in_flight",
    "p50 ms": "p50",
    "p99 ms": "p99",
    "errors/s": "errors",
    "refused/s": "refused",
    "hits %": "hit_rate",
}
# Fields to sort by; a key cycles through them.
ORDERS = ("rate", "p99", "in_flight", "errors", "method")
# Methods that each poll calls; not shown.
_ITS_OWN = ("ringback.ping", "ringback.stats")
# Counts of a method that was missing in the first poll.
_NONE: Mapping[str, Any] = {"calls": 0, "errors": 0, "refused": 0, "times": []}


class MethodRow(NamedTuple):
    """The figures of one method.

    `rate`, `errors` and `refused` are per second; `rate` counts calls that ended. `p50` and `p99`
    are response times in seconds, None if no call ended. `hit_rate` is the fraction of the calls of
    a cached method that needed no run of their own.
    """

    method: str
    rate: float
    in_flight: int
    errors: float
    refused: float
    p50: float | None
    p99: float | None
    hit_rate: float | None = None


def between(pairs: Iterable[tuple[Look, Look]], order: str = "rate") -> list[MethodRow]:
    """The methods that had calls, summed over all servers.

    `order` is the field to sort by, largest first; method names sort alphabetically.
    """
    found: dict[str, _Sum] = {}
    for before, after in pairs:
        seconds = after["seconds"] - before["seconds"]
        for name, now in after["methods"].items():
            if (now["calls"] or now["in_flight"] or now["refused"]) and name not in _ITS_OWN:
                found.setdefault(name, _Sum()).add(before["methods"].get(name, _NONE), now, seconds)
    rows = sorted((each.row(name) for name, each in found.items()), key=lambda row: row.method)
    if order != "method":
        rows.sort(key=lambda row: getattr(row, order) or 0.0, reverse=True)
    return rows


class _Sum:
    """The sums of one method over all servers."""

    def __init__(self) -> None:
        self._rates = [0.0, 0.0, 0.0]
        self._in_flight = 0
        self._times: list[int] = []
        self._cache: list[int] | None = None  # calls answered from the cache, and all calls

    def add(self, then: Mapping[str, Any], now: Mapping[str, Any], seconds: float) -> None:
        """Add the difference between two polls of one server, `seconds` apart."""
        for place, key in enumerate(("calls", "errors", "refused")):
            self._rates[place] += (now[key] - then[key]) / seconds
        self._in_flight += now["in_flight"]
        pairs = zip_longest(self._times, now["times"], then["times"], fillvalue=0)
        self._times = [own + many - old for own, many, old in pairs]
        if "cache" in now and "cache" in then:
            own = self._cache or [0, 0]
            hits = sum(
                now["cache"][key] - then["cache"][key] for key in ("hits", "stale", "shared")
            )
            misses = now["cache"]["misses"] - then["cache"]["misses"]
            self._cache = [own[0] + hits, own[1] + hits + misses]

    def row(self, name: str) -> MethodRow:
        """The method's row."""
        rate, errors, refused = self._rates
        hit_rate = self._cache[0] / self._cache[1] if self._cache and self._cache[1] else None
        p50, p99 = percentile(self._times, 0.5), percentile(self._times, 0.99)
        return MethodRow(name, rate, self._in_flight, errors, refused, p50, p99, hit_rate)


def percentile(times: Sequence[int], part: float) -> float | None:
    """A percentile of the times that `MethodStatistics` counted, in seconds. None if it counted
    none."""
    left = part * sum(times)
    for index, many in enumerate(times):
        left -= many
        if many and left <= 1e-9:
            return seconds_at(index)
    return None


def table(pairs: Sequence[tuple[Look, Look]], order: str = "rate") -> RenderableType:
    """The display of servers that have answered two polls."""
    rows = between(pairs, order)
    cached = any("cache" in method for _, after in pairs for method in after["methods"].values())
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for name, field in _COLUMNS.items():
        if field != "hit_rate" or cached:
            style = "reverse" if field == order else ""
            justify: Any = "left" if field == "method" else "right"
            shown.add_column(
                Text(name, style), justify=justify, no_wrap=field != "method", overflow="fold"
            )
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
    heads = [line for before, after in pairs for line in _head(before, after)]
    return Group(*heads, shown)


def _head(before: Look, after: Look) -> Iterator[RenderableType]:
    """The lines about one server."""
    rate = sum(row.rate for row in between([(before, after)]))
    yield Text(
        printable(
            f"{after['service']} on {after['backend']}, process {after['process']}, up "
            f"{_duration(after['seconds'])}: "
            f"{rate:,.0f} calls/s, {after['in_flight']:,} in flight, {after['clients']:,} clients"
        ),
        style="bold",
    )
    yield from (Text(printable(line)) for line in _scheduling(after))


def _scheduling(look: Look) -> Iterator[str]:
    """The lines about workers, resources, limits and waiting calls."""
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
        yield "waiting by priority: " + ", ".join(
            f"{priority}: {many:,}" for priority, many in waiting
        )


def _share(name: str, amounts: Mapping[str, float]) -> str:
    return f"{name} {min(amounts['taken'], amounts['total']):g} of {amounts['total']:g}"


def _milliseconds(seconds: float | None) -> str:
    return (
        "-"
        if seconds is None
        else f"{seconds * 1000:,.2f}"
        if seconds < 1
        else f"{seconds * 1000:,.0f}"
    )


def _duration(seconds: float) -> str:
    hours, rest = divmod(int(seconds), 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}"
