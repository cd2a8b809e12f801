"""The plots of a report: each a plotly figure with its figures as a table. The page sets the colours of text and grids."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from hdrh.histogram import HdrHistogram

from .analysis import client_limited
from .drawing import (
    GREY,
    Plot,
    backends_of,
    by_workload,
    errors,
    figure_of,
    looks_of,
    ms,
    name_of,
    number,
    scaled,
    short,
    us,
)
from .models import Scalability
from .plan import STYLES
from .results import Report, Result

# Percentiles of a curve, as the part of calls that are slower.
_TAIL = np.logspace(0, -3, 46)
_MARKS = (1, 2, 10, 100, 1000)

_RATIOS = (0.2, 0.35, 0.5, 0.7, 0.85, 1, 1.2, 1.5, 2, 3, 5)


def forest(report: Report) -> Iterator[Plot]:
    """Every claim: the ratio to the best of its cell, with its interval, around the margin."""
    if not report.comparisons:
        return
    figure = figure_of(90 + 24 * len(report.comparisons), showlegend=False)
    margin = report.design.margin
    figure.add_vrect(1 / (1 + margin), 1 + margin, fillcolor=GREY, opacity=0.15, line_width=0)
    figure.add_vline(1, line={"color": GREY, "width": 1})
    rows = []
    for claim in reversed(report.comparisons):
        colour, marker, _ = looks_of(claim.backend)
        name = f"{claim.workload}, {short(claim.style)}: {claim.backend}"
        low, high = claim.interval
        figure.add_scatter(
            x=[claim.ratio],
            y=[name],
            mode="markers",
            marker={"color": colour, "symbol": marker, "size": 9},
            error_x={"type": "data", "array": [high - claim.ratio], "arrayminus": [claim.ratio - low]},
            hovertext=f"{claim.metric} beside {claim.best}: {claim.outcome}",
        )
        ratio, spread = f"{claim.ratio:.3f}", f"{low:.3f} .. {high:.3f}"
        rows.append([name, claim.metric, claim.best, ratio, spread, claim.outcome, f"{claim.detectable:.1%}"])
    ratios = [end for claim in report.comparisons for end in claim.interval]
    edges = np.log10([max(0.2, min(ratios) * 0.95), min(5.0, max(ratios) * 1.05)])
    figure.update_xaxes(
        title="ratio to the best of the cell", type="log", range=edges.tolist(), tickvals=_RATIOS
    )
    figure.update_yaxes(automargin=True)
    head = ["claim", "metric", "beside", "ratio", "interval", "it is", "could have seen"]
    yield Plot("Ratios to the best of each cell", figure, head, rows[::-1])


def throughput(report: Report) -> Iterator[Plot]:
    """For each workload bars by backend and style, with intervals; other libraries grey."""
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
                x=[name_of(each) for each in mine],
                y=[each.throughput for each in mine],
                name=style,
                marker={
                    "color": [GREY if each.peer else looks_of(each.backend)[0] for each in mine],
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
                rows.append([name_of(each), style, number(each.throughput), interval, limit, rounds])
        figure.update_yaxes(title="calls/s", rangemode="tozero")
        head = ["who", "style", "calls/s", "interval", "limit", "rounds"]
        yield Plot(f"{workload}: {report.design.explanations.get(workload, '')}", figure, head, rows)


def percentiles(report: Report) -> Iterator[Plot]:
    """How many calls take how long: of open loops where there are any, as only these tell how long callers wait."""
    opened = list(by_workload(report.results, "open"))
    for workload, results in opened or list(by_workload(report.results, "closed"))[:2]:
        for style in STYLES:
            mine = [each for each in results if each.style == style and each.calls and not each.overloaded]
            if not mine:
                continue
            figure = figure_of(360)
            for each in mine:
                histogram = HdrHistogram.decode(each.histogram)
                tail = _TAIL[_TAIL * each.calls >= 1]
                colour, _, dash = looks_of(each.backend)
                figure.add_scatter(
                    x=1 / tail,
                    y=[histogram.get_value_at_percentile(100 * (1 - part)) / 1e6 for part in tail],
                    name=name_of(each),
                    mode="lines",
                    line={"color": colour, "dash": dash},
                )
            labels = ["min", "p50", "p90", "p99", "p99.9"]
            figure.update_xaxes(title="percentile of calls", type="log", tickvals=_MARKS, ticktext=labels)
            figure.update_yaxes(title="response time, ms", type="log", dtick="D2", automargin=True)
            rate = f" at {number(mine[0].rate.offered)} calls/s" if mine[0].rate is not None else ""
            rows = []
            for each in mine:
                times = [ms(getattr(each.latency, name)) for name in ("p50", "p90", "p99", "p999", "max")]
                tails = [ms(found.p99 if found else None) for found in (each.service, each.slip)]
                rows.append([name_of(each), *times, *tails])
            head = ["who", "p50 ms", "p90", "p99", "p99.9", "max", "p99 from sent", "p99 sent late"]
            yield Plot(f"{workload}, {style}{rate}", figure, head, rows)


def over_time(report: Report) -> Iterator[Plot]:
    """Response times within the windows of all rounds, side by side."""
    wanted = next(
        (name for name in ("echo-rate", "echo") if any(each.workload == name for each in report.results)),
        None,
    )
    results = [each for each in report.results if each.workload == (wanted or report.results[0].workload)]
    for style in STYLES:
        mine = [each for each in results if each.style == style and each.series]
        if not mine:
            continue
        figure = figure_of(340)
        rows = []
        for each in mine:
            colour, marker, dash = looks_of(each.backend)
            span = each.seconds / max(1, len(each.rounds))
            for rank, look in (("p99", dash), ("p50", "solid")):
                points = [(tick.round + tick.t / span, getattr(tick, rank)) for tick in each.series]
                figure.add_scatter(
                    x=[x for x, _ in points],
                    y=[None if y is None else y * 1e3 for _, y in points],
                    name=f"{name_of(each)} {rank}",
                    mode="lines+markers",
                    line={"color": colour, "dash": look, "width": 1},
                    marker={"symbol": marker, "size": 4},
                    visible=True if rank == "p99" else "legendonly",
                )
            spoilt = [made.round for made in each.rounds if made.contaminated]
            for number_of in spoilt:
                figure.add_vrect(number_of, number_of + 1, fillcolor=GREY, opacity=0.15, line_width=0)
            rows.append(
                [
                    name_of(each),
                    " ".join(ms(made.p50) for made in each.rounds),
                    " ".join(ms(made.p99) for made in each.rounds),
                ]
            )
        figure.update_xaxes(title="round, each with its window", dtick=1)
        figure.update_yaxes(title="ms", type="log", dtick="D2", automargin=True)
        yield Plot(
            f"{mine[0].workload}, {style}", figure, ["who", "p50 ms by round", "p99 ms by round"], rows
        )


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
        for backend in backends_of(mine):
            own = [each for each in mine if each.backend == backend]
            figure.add_bar(
                x=[each.workload for each in own],
                y=[(each.cpu.server_per_call or 0) * 1e6 for each in own],
                name=backend,
                marker={"color": looks_of(backend)[0]},
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
                f"{each.workload}, {name_of(each)}",
                us(each.cpu.server_per_call),
                us(each.cpu.client_per_call),
                *(
                    "-" if found is None else f"{found:.2f}"
                    for found in (each.waiting.voluntary_per_call, each.waiting.involuntary_per_call)
                ),
                "-" if each.memory.server is None else f"{each.memory.server / 2**20:.0f}",
                "-" if each.memory.per_connection is None else f"{each.memory.per_connection / 1024:.1f}",
            ]
            for each in mine
        ]
        head = [
            "cell",
            "server us",
            "client us",
            "switches asked",
            "switches suffered",
            "server MiB",
            "KiB a connection",
        ]
        yield Plot(f"CPU time of the server, {style}", figure, head, rows)
    figure = figure_of(360)
    for backend in backends_of(results):
        own = [each for each in results if each.backend == backend and each.latency.p99]
        colour, marker, _ = looks_of(backend)
        figure.add_scatter(
            x=[(each.cpu.server_per_call or 0) * 1e6 for each in own],
            y=[(each.latency.p99 or 0) * 1e3 for each in own],
            text=[f"{each.workload}, {each.style}" for each in own],
            name=backend,
            mode="markers",
            marker={"color": colour, "symbol": marker, "size": 9},
        )
    figure.update_xaxes(title="server CPU, us a call", type="log")
    figure.update_yaxes(title="p99, ms", type="log", automargin=True)
    yield Plot("CPU time against p99: down and to the left is better", figure, [], [])


def styles(report: Report) -> Iterator[Plot]:
    """Request-reply beside fire-and-callback."""
    for workload, results in by_workload(report.results, "closed"):
        pairs: dict[str, dict[str, Result]] = {}
        for each in results:
            pairs.setdefault(name_of(each), {})[each.style] = each
        both = {who: pair for who, pair in pairs.items() if len(pair) == len(STYLES)}
        if not both:
            continue
        figure = figure_of(300)
        rows = []
        for who, pair in both.items():
            waited, fired = (pair[style] for style in STYLES)
            colour, marker, dash = looks_of(waited.backend)
            figure.add_scatter(
                x=list(STYLES),
                y=[waited.throughput, fired.throughput],
                name=who,
                mode="lines+markers",
                line={"color": colour, "dash": dash},
                marker={"symbol": marker, "size": 9},
            )
            factor = f"{fired.throughput / waited.throughput:.2f}" if waited.throughput else "-"
            rows.append([who, number(waited.throughput), number(fired.throughput), factor])
        figure.update_xaxes(range=[-0.3, 1.3])
        figure.update_yaxes(title="calls/s", rangemode="tozero", automargin=True)
        yield Plot(workload, figure, ["who", *STYLES, "factor"], rows)


def load_curves(report: Report) -> Iterator[Plot]:
    """Calls/s and p99 with ever more callers, and the law that was fitted to the first of them."""
    if not report.sweep:
        return
    calls, waits = figure_of(380), figure_of(380)
    groups: dict[tuple[str, str], dict[int, list[tuple[float, float | None]]]] = {}
    for point in report.sweep:
        many = groups.setdefault((point.backend, point.client), {})
        many.setdefault(point.concurrency, []).append((point.throughput, point.p99))
    rows = []
    for (backend, client), many in groups.items():
        colour, marker, dash = looks_of(backend)
        callers = sorted(many)
        speeds = [float(np.mean([speed for speed, _ in many[each]])) for each in callers]
        tails = [[tail for _, tail in many[each] if tail is not None] for each in callers]
        look = {"color": colour, "symbol": marker, "size": 8}
        calls.add_scatter(x=callers, y=speeds, name=backend, mode="markers", marker=look)
        waits.add_scatter(
            x=callers,
            y=[float(np.mean(found)) * 1e3 if found else None for found in tails],
            name=backend,
            mode="lines+markers",
            marker=look,
            line={"color": colour, "dash": dash},
            connectgaps=True,
        )
        for law in report.laws:
            if (law.backend, law.client) == (backend, client):
                curve = np.geomspace(1, max(callers), 50)
                fitted = Scalability(law.gamma, law.alpha, law.beta).throughput(curve)
                line = {"color": colour, "dash": dash, "width": 1}
                calls.add_scatter(
                    x=curve, y=fitted, name=f"{backend}, law", mode="lines", line=line, showlegend=False
                )
        rows.append([f"{backend}, {client} client", *(number(speed) for speed in speeds)])
    for figure, title in ((calls, "calls/s"), (waits, "p99, ms")):
        figure.update_xaxes(
            title="callers", type="log", tickvals=callers, ticktext=[str(each) for each in callers]
        )
        figure.update_yaxes(title=title, type="log", dtick="D2", automargin=True)
    head = ["who", *(str(each) for each in callers)]
    first = report.sweep[0]
    yield Plot(
        f"{first.workload}, {first.style}: calls/s (points), the fitted law (lines)", calls, head, rows
    )
    yield Plot("p99, where a window had calls enough to tell", waits, [], [])


def drift(report: Report) -> Iterator[Plot]:
    """Every window in the order of time, beside the mean of its cell."""
    figure = figure_of(320)
    for backend in backends_of(report.results):
        own = [each for each in report.results if each.backend == backend and each.throughput]
        points = [(made.at, made.throughput / each.throughput) for each in own for made in each.rounds]
        colour, marker, _ = looks_of(backend)
        figure.add_scatter(
            x=[at for at, _ in points],
            y=[share for _, share in points],
            name=backend,
            mode="markers",
            marker={"color": colour, "symbol": marker, "size": 5},
        )
    figure.add_hline(1, line={"color": GREY, "width": 1})
    figure.update_xaxes(title="seconds since the run began")
    figure.update_yaxes(title="calls/s, of the cell's mean", automargin=True)
    yield Plot("Every window", figure, [], [])
