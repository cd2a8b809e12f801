"""The plots of a report, as plotly figures with titles. The page sets the colours of text and
grids."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import plotly.graph_objects as go
from hdrh.histogram import HdrHistogram

from ..load.plan import STYLES
from ..results import Interval, Report, Result
from ..statistics.figures import FIGURES, Figure
from .names import NamedCell, contests, of_best, who

# Okabe and Ito 2008: distinct in any colour vision. An arm has the same colour, marker and dash in
# all plots.
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
# Suffix of an arm's marker, if the client is not the usual one.
_CLIENTS = {"asyncio": "-open", "gevent": "-dot", "twisted": "-open-dot", "raw": "-open"}
_GREY = "#888888"

# Percentiles of a curve, as the fraction of slower calls, and the minimum number of these.
_TAIL = np.logspace(0, -3, 46)
_BEYOND = 20
_MARKS = (1, 2, 10, 100, 1000)


class Plot(NamedTuple):
    """A figure with its title."""

    title: str
    figure: go.Figure


def beside_best(report: Report) -> Iterator[Plot]:
    """The arms of every cell relative to its best one, in one plot with one scale."""
    beside = [
        (name, claim.turned())
        for name, claims in contests(report).items()
        for claim in of_best(claims)
    ]
    if not beside:
        return
    figure = _figure(120 + 20 * len(beside))
    for arm in dict.fromkeys(claim.arm for _, claim in beside):
        own = [(name, claim) for name, claim in beside if claim.arm == arm]
        colour, marker, _ = looks_of(own[0][1])
        figure.add_scatter(
            x=[claim.ratio for _, claim in own],
            y=[f"{name}: {arm}" for name, _ in own],
            text=[claim.wording for _, claim in own],
            name=arm,
            mode="markers",
            marker={"color": colour, "symbol": marker, "size": 8},
            error_x=_errors([(claim.ratio, (claim.low, claim.high)) for _, claim in own]),
        )
    figure.add_vline(1, line={"color": _GREY, "width": 1})
    figure.update_xaxes(title="relative to the best: 1 is as good, less is worse")
    order = [f"{name}: {claim.arm}" for name, claim in beside]
    figure.update_yaxes(automargin=True, categoryorder="array", categoryarray=order[::-1])
    yield Plot("Each arm relative to the best of its cell", figure)


def throughput(report: Report) -> Iterator[Plot]:
    """Calls/s of closed loops, by arm and style; other libraries are grey."""
    closed = [each for each in (*report.results, *report.peers) if each.loop == "closed"]
    return _bars(report, closed, FIGURES["throughput"])


def cost(report: Report) -> Iterator[Plot]:
    """CPU time of the server per call."""
    return _bars(
        report, [each for each in report.results if each.server_cpu], FIGURES["server_cpu"]
    )


def _bars(report: Report, results: Iterable[Result], shown: Figure) -> Iterator[Plot]:
    """A bar plot for each workload, from 0, with intervals."""
    for workload, everyone in _by_workload(results):
        figure = _figure(340, barmode="group")
        for style, opacity in zip(STYLES, (0.55, 0.95), strict=True):
            mine = [each for each in everyone if each.style == style]
            if not mine:
                continue
            found = [
                (getattr(each, shown.name), getattr(each.interval, shown.name)) for each in mine
            ]
            bounded = [
                shown.name == "throughput" and not each.peer and each.client_limited
                for each in mine
            ]
            figure.add_bar(
                x=[who(each) for each in mine],
                y=[one * shown.scale for one, _ in found],
                name=style,
                marker={
                    "color": [_GREY if each.peer else looks_of(each)[0] for each in mine],
                    "opacity": opacity,
                    "pattern": {"shape": ["/" if each else "" for each in bounded]},
                },
                error_y=_errors(found, shown.scale),
                offsetgroup=style,
            )
        figure.update_yaxes(title=shown.title, rangemode="tozero", automargin=True)
        yield Plot(f"{workload}: {report.design.explanations.get(workload, '')}", figure)


def response(report: Report) -> Iterator[Plot]:
    """Response times by percentile, for open loops and for single callers."""
    times = [
        each
        for each in report.results
        if not each.overloaded and (each.rate or each.concurrency == 1)
    ]
    for workload, everyone in _by_workload(times):
        for style in STYLES:
            mine = [each for each in everyone if each.style == style]
            if mine:
                yield _curves(f"{workload}, {style}", mine)


def _curves(title: str, results: list[Result]) -> Plot:
    figure = _figure(360)
    for each in results:
        histogram = HdrHistogram.decode(each.histogram)
        tail = _TAIL[_TAIL * each.calls >= _BEYOND]
        colour, marker, dash = looks_of(each)
        figure.add_scatter(
            x=1 / tail,
            y=[histogram.get_value_at_percentile(100 * (1 - part)) / 1e6 for part in tail],
            name=who(each),
            mode="lines+markers",
            line={"color": colour, "dash": dash},
            marker={"symbol": marker, "size": 6, "maxdisplayed": 8},
        )
    labels = ["min", "p50", "p90", "p99", "p99.9"]
    figure.update_xaxes(title="percentile of calls", type="log", tickvals=_MARKS, ticktext=labels)
    figure.update_yaxes(title="response time, ms", type="log", dtick="D2", automargin=True)
    rate = results[0].rate
    at = "one call in flight" if rate is None else f"{rate.offered:,.0f} calls/s"
    return Plot(f"{title}: {at}", figure)


def looks_of(cell: NamedCell) -> tuple[str, str, str]:
    """Colour, marker and dash of the cell's arm; the marker also shows the client."""
    # Other arms choose by name, so that each looks the same everywhere.
    colour, marker, dash = _LOOKS.get(cell.arm) or _OTHERS[sum(cell.arm.encode()) % len(_OTHERS)]
    return colour, f"{marker}{_CLIENTS.get(cell.client, '')}", dash


def _by_workload(results: Iterable[Result]) -> Iterator[tuple[str, list[Result]]]:
    """The results that have calls, by workload."""
    groups: dict[str, list[Result]] = {}
    for each in results:
        if each.calls:
            groups.setdefault(each.workload, []).append(each)
    for name, found in groups.items():
        if not all(each.peer for each in found):  # leave out workloads that only peers have
            yield name, sorted(found, key=lambda each: (each.peer, each.client, each.arm))


def _figure(height: int, **layout: object) -> go.Figure:
    """An empty figure of this height in pixels."""
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


def _errors(values: list[tuple[float, Interval | None]], scale: float = 1.0) -> dict[str, object]:
    """Error bars of values with intervals."""
    return {
        "type": "data",
        "array": [
            0 if found is None else max(0.0, found[1] - value) * scale for value, found in values
        ],
        "arrayminus": [
            0 if found is None else max(0.0, value - found[0]) * scale for value, found in values
        ],
        "thickness": 1,
        "color": _GREY,
    }
