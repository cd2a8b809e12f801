"""The plots of a report but for those of times: each a plotly figure with its figures as a table. The page sets the colours of text and
grids."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..load.plan import STYLES
from ..results import Report, Result
from ..statistics.analysis import client_limited
from ..statistics.figures import FIGURES
from .drawing import (
    GREY,
    Plot,
    by_name,
    by_workload,
    errors,
    figure_of,
    looks_of,
    number,
    p99_of,
    pattern_of,
    scaled,
    short,
    us,
)
from .names import who

_RATIOS = (0.2, 0.35, 0.5, 0.7, 0.85, 1, 1.2, 1.5, 2, 3, 5)


def forest(report: Report) -> Iterator[Plot]:
    """Every claim of arms: how each does beside the best of its cell, with its interval, around the margin."""
    claims = [
        each.turned()
        for contest in report.contests().values()
        for each in contest
        if each.arm == contest[0].arm
    ]
    if not claims:
        return
    figure = figure_of(90 + 24 * len(claims), showlegend=False)
    margin = report.design.margin
    figure.add_vrect(1 / (1 + margin), 1 + margin, fillcolor=GREY, opacity=0.15, line_width=0)
    figure.add_vline(1, line={"color": GREY, "width": 1})
    rows = []
    for claim in reversed(claims):
        colour, marker, _ = looks_of(claim)
        name = f"{claim.workload}, {short(claim.style)}: {who(claim)}"
        figure.add_scatter(
            x=[claim.ratio],
            y=[name],
            mode="markers",
            marker={"color": colour, "symbol": marker, "size": 9},
            error_x={
                "type": "data",
                "array": [claim.high - claim.ratio],
                "arrayminus": [claim.ratio - claim.low],
            },
            hovertext=f"{claim.figure} beside {claim.against}: {claim.verdict}",
        )
        ratio, spread = f"{claim.ratio:.3f}", f"{claim.low:.3f} .. {claim.high:.3f}"
        said = f"{claim.verdict}{', sure' if claim.sure else ''}"
        words = FIGURES[claim.figure].words
        rows.append([name, words, claim.against, ratio, spread, said, f"{claim.detectable:.1%}"])
    ratios = [end for claim in claims for end in (claim.low, claim.high)]
    edges = np.log10([max(0.2, min(ratios) * 0.95), min(5.0, max(ratios) * 1.05)])
    figure.update_xaxes(
        title="beside the best of the cell: above 1 is better",
        automargin=True,
        type="log",
        range=edges.tolist(),
        tickvals=_RATIOS,
    )
    figure.update_yaxes(automargin=True)
    head = ["claim", "figure", "beside", "ratio", "interval", "it is", "could have seen"]
    yield Plot("Beside the best of each cell", figure, head, rows[::-1])


def throughput(report: Report) -> Iterator[Plot]:
    """For each workload bars by arm and style, with intervals; other libraries grey."""
    peers = dict(by_workload(report.peers, "closed"))
    for workload, results in by_workload(report.results, "closed"):
        everyone = [*results, *peers.get(workload, [])]
        figure = figure_of(340, barmode="group")
        rows = []
        for style, opacity in zip(STYLES, (0.55, 0.95), strict=True):
            mine = [each for each in everyone if each.style == style]
            if not mine:
                continue
            figure.add_bar(
                x=[who(each) for each in mine],
                y=[each.throughput for each in mine],
                name=style,
                marker={
                    "color": [GREY if each.peer else looks_of(each)[0] for each in mine],
                    "opacity": opacity,
                    "pattern": {
                        "shape": ["/" if client_limited(each) and not each.peer else "" for each in mine]
                    },
                },
                error_y=errors([(each.throughput, each.interval.throughput) for each in mine]),
                offsetgroup=style,
            )
            for each in mine:
                limit = (
                    "own client"
                    if each.peer
                    else "client: a lower bound"
                    if client_limited(each)
                    else each.limit
                )
                low, high = each.interval.throughput or (None, None)
                rounds = " ".join(number(made.throughput) for made in each.rounds)
                interval = f"{number(low)} .. {number(high)}"
                rows.append([who(each), style, number(each.throughput), interval, limit, rounds])
        figure.update_yaxes(title="calls/s", rangemode="tozero")
        head = ["who", "style", "calls/s", "interval", "limit", "rounds"]
        yield Plot(f"{workload}: {report.design.explanations.get(workload, '')}", figure, head, rows)


def cost(report: Report) -> Iterator[Plot]:
    """CPU time of the server for a call; and what it buys."""
    results = [each for each in report.results if each.cpu.server_per_call and each.calls]
    if not results:
        return
    for style in STYLES:
        mine = [each for each in results if each.style == style]
        if not mine:
            continue
        figure = figure_of(360, barmode="group")
        for name, own in by_name(mine):
            figure.add_bar(
                x=[each.workload for each in own],
                y=[(each.cpu.server_per_call or 0) * 1e6 for each in own],
                name=name,
                marker={"color": looks_of(own[0])[0], "pattern": {"shape": pattern_of(own[0])}},
                error_y=errors(
                    [
                        ((each.cpu.server_per_call or 0) * 1e6, scaled(each.interval.server_cpu, 1e6))
                        for each in own
                    ]
                ),
            )
        figure.update_yaxes(title="server CPU, us a call", type="log", automargin=True)
        rows = [
            [
                f"{each.workload}, {who(each)}",
                us(each.cpu.server_per_call),
                us(each.cpu.client_per_call),
                "-" if each.memory.server is None else f"{each.memory.server / 2**20:.0f}",
                "-" if each.memory.per_connection is None else f"{each.memory.per_connection / 1024:.1f}",
            ]
            for each in mine
        ]
        head = [
            "cell",
            "server us",
            "client us",
            "server MiB",
            "KiB a connection",
        ]
        yield Plot(f"CPU time of the server, {style}", figure, head, rows)
    figure = figure_of(360)
    for name, own in by_name(each for each in results if p99_of(each)):
        colour, marker, _ = looks_of(own[0])
        figure.add_scatter(
            x=[(each.cpu.server_per_call or 0) * 1e6 for each in own],
            y=[(p99_of(each) or 0) * 1e3 for each in own],
            text=[f"{each.workload}, {each.style}" for each in own],
            name=name,
            mode="markers",
            marker={"color": colour, "symbol": marker, "size": 9},
        )
    if not figure.data:
        return
    figure.update_xaxes(title="server CPU, us a call", type="log")
    figure.update_yaxes(title="p99, ms", type="log", automargin=True)
    yield Plot("CPU time against p99: down and to the left is better", figure, [], [])


def styles(report: Report) -> Iterator[Plot]:
    """Request-reply beside fire-and-callback."""
    for workload, results in by_workload(report.results, "closed"):
        pairs: dict[str, dict[str, Result]] = {}
        for each in results:
            pairs.setdefault(who(each), {})[each.style] = each
        both = {name: pair for name, pair in pairs.items() if len(pair) == len(STYLES)}
        if not both:
            continue
        figure = figure_of(300)
        rows = []
        for name, pair in both.items():
            waited, fired = (pair[style] for style in STYLES)
            colour, marker, dash = looks_of(waited)
            figure.add_scatter(
                x=list(STYLES),
                y=[waited.throughput, fired.throughput],
                name=name,
                mode="lines+markers",
                line={"color": colour, "dash": dash},
                marker={"symbol": marker, "size": 9},
            )
            factor = f"{fired.throughput / waited.throughput:.2f}" if waited.throughput else "-"
            rows.append([name, number(waited.throughput), number(fired.throughput), factor])
        figure.update_xaxes(range=[-0.3, 1.3])
        figure.update_yaxes(title="calls/s", rangemode="tozero", automargin=True)
        yield Plot(workload, figure, ["who", *STYLES, "factor"], rows)


def drift(report: Report) -> Iterator[Plot]:
    """Every round in the order of time, beside the mean of its cell."""
    figure = figure_of(320)
    for name, own in by_name(each for each in report.results if each.throughput):
        points = [(made.at, made.throughput / each.throughput) for each in own for made in each.rounds]
        colour, marker, _ = looks_of(own[0])
        figure.add_scatter(
            x=[at for at, _ in points],
            y=[share for _, share in points],
            name=name,
            mode="markers",
            marker={"color": colour, "symbol": marker, "size": 5},
        )
    figure.add_hline(1, line={"color": GREY, "width": 1})
    figure.update_xaxes(title="seconds since the run began")
    figure.update_yaxes(title="calls/s, of the cell's mean", automargin=True)
    yield Plot("Every round", figure, [], [])
