"""What the plots of a report have in common: their looks, and figures as a person reads them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple, TypeVar

import plotly.graph_objects as go

from ..results import Interval, Result
from ..statistics.figures import told
from .names import Ends, who

Named = TypeVar("Named", bound=Ends)

# Okabe and Ito 2008: told apart with any colour vision. An arm keeps its colour, its marker and its dash everywhere.
_LOOKS = {
    "asyncio": ("#0072B2", "circle", "solid"),
    "gevent": ("#009E73", "square", "dash"),
    "threading": ("#D55E00", "diamond", "dot"),
    "twisted": ("#CC79A7", "triangle-up", "dashdot"),
}
_OTHERS = (
    ("#E69F00", "x", "longdash"),
    ("#56B4E9", "star", "longdashdot"),
    ("#F0E442", "hexagon", "solid"),
    ("#999999", "cross", "dash"),
)

# The same backend with another client than the usual one: added to its marker, and the pattern of its bar.
_CLIENTS = {"asyncio": ("-open", "."), "gevent": ("-dot", "-"), "twisted": ("-open-dot", "x")}
GREY = "#888888"


class Plot(NamedTuple):
    """A figure under its title, and its figures as a table."""

    title: str
    figure: go.Figure
    head: list[str]
    rows: list[list[str]]


def ms(seconds: float | None) -> str:
    """Milliseconds, for a person."""
    return "-" if seconds is None else f"{seconds * 1e3:,.3g}"


def us(seconds: float | None) -> str:
    """Microseconds, for a person."""
    return "-" if seconds is None else f"{seconds * 1e6:,.3g}"


def number(value: float | None) -> str:
    """Calls, for a person."""
    return "-" if value is None else f"{value:,.0f}"


def figure_of(height: int, **layout: object) -> go.Figure:
    """An empty figure of that height, in pixels."""
    figure = go.Figure()
    figure.update_layout(
        height=height,
        margin={"l": 56, "r": 10, "t": 8, "b": 44},
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.02, "x": 0},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        **layout,
    )
    return figure


def looks_of(ends: Ends) -> tuple[str, str, str]:
    """Colour, marker and dash: of an arm, but for the marker, which shows the client too."""
    colour, marker, dash = _LOOKS.get(ends.arm) or _other(ends.arm)
    return colour, f"{marker}{_CLIENTS.get(ends.client, ('', ''))[0]}", dash


def _other(name: str) -> tuple[str, str, str]:
    """Of an arm that is no backend by itself: always the same one."""
    return _OTHERS[sum(name.encode()) % len(_OTHERS)]


def pattern_of(ends: Ends) -> str:
    """What shows the client in a bar."""
    return _CLIENTS.get(ends.client, ("", ""))[1]


def short(style: str) -> str:
    """A call style in a word."""
    return {"request-reply": "wait", "fire-and-callback": "fire"}.get(style, style)


def by_name(of: Iterable[Named]) -> list[tuple[str, list[Named]]]:
    """All of each arm with each client, in order."""
    groups: dict[str, list[Named]] = {}
    for each in of:
        groups.setdefault(who(each), []).append(each)
    return sorted(groups.items())


def p99_of(result: Result) -> float | None:
    """None where there were too few calls to tell."""
    return told(result.latency, result.calls).p99


def by_workload(results: Iterable[Result], loop: str) -> Iterator[tuple[str, list[Result]]]:
    """The results of one kind of loop that have calls, by their workload."""
    groups: dict[str, list[Result]] = {}
    for each in sorted(results, key=lambda each: (each.client, each.arm)):
        if each.loop == loop and each.calls:
            groups.setdefault(each.workload, []).append(each)
    yield from groups.items()


def scaled(interval: Interval | None, by: float) -> Interval | None:
    """In another unit."""
    return None if interval is None else (interval[0] * by, interval[1] * by)


def errors(values: list[tuple[float, Interval | None]]) -> dict[str, object]:
    """Error bars, for values with their intervals."""
    return {
        "type": "data",
        "array": [0 if found is None else max(0.0, found[1] - value) for value, found in values],
        "arrayminus": [0 if found is None else max(0.0, value - found[0]) for value, found in values],
        "thickness": 1,
        "color": GREY,
    }
