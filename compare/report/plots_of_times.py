"""The plots of a report that show how long calls take."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from hdrh.histogram import HdrHistogram

from ..load.plan import STYLES
from ..results import Report, Result
from ..statistics.figures import told
from .drawing import GREY, Plot, by_workload, figure_of, looks_of, ms, number
from .names import who

# Percentiles of a curve, as the part of calls that are slower, and how many calls at least have to be.
_TAIL = np.logspace(0, -3, 46)
_BEYOND = 20
_MARKS = (1, 2, 10, 100, 1000)


def response(report: Report) -> Iterator[Plot]:
    """How long callers wait in open loops, then what a round trip takes in closed ones."""
    opened, closed = (list(by_workload(report.results, loop)) for loop in ("open", "closed"))
    for workload, results in opened:
        yield from _curves(workload, results)
    for workload, results in closed:
        yield _spans(workload, results)
        yield from _curves(workload, results)


def _spans(workload: str, results: list[Result]) -> Plot:
    """From the median to p99, by backend and style."""
    figure = figure_of(320, scattermode="group")
    rows = []
    for style, symbol in zip(STYLES, ("circle-open", "circle"), strict=True):
        mine = [(each, told(each.latency, each.calls)) for each in results if each.style == style]
        if not mine:
            continue
        figure.add_scatter(
            x=[who(each) for each, _ in mine],
            y=[(times.p50 or 0) * 1e3 for _, times in mine],
            error_y={
                "type": "data",
                "symmetric": False,
                "array": [((times.p99 or times.p50 or 0) - (times.p50 or 0)) * 1e3 for _, times in mine],
                "arrayminus": [0] * len(mine),
                "thickness": 1,
                "color": GREY,
            },
            name=style,
            mode="markers",
            marker={"symbol": symbol, "size": 9, "color": [looks_of(each)[0] for each, _ in mine]},
            offsetgroup=style,
        )
        rows += [
            [who(each), style, *(ms(time) for time in (times.p50, times.p90, times.p99))]
            for each, times in mine
        ]
    figure.update_yaxes(title="round trip, ms", type="log", dtick="D2", automargin=True)
    title = f"{workload}: round trip with {_in_flight(results)}, from the median (point) up to p99"
    return Plot(title, figure, ["who", "style", "p50 ms", "p90", "p99"], rows)


def _in_flight(results: list[Result]) -> str:
    many = results[0].concurrency
    return f"{many} call{'' if many == 1 else 's'} in flight"


def _curves(workload: str, results: list[Result]) -> Iterator[Plot]:
    """How many calls take how long, by style."""
    for style in STYLES:
        mine = [each for each in results if each.style == style and each.calls and not each.overloaded]
        if not mine:
            continue
        opened = mine[0].rate
        figure = figure_of(360)
        for each in mine:
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
        what = "round trip" if opened is None else "response time"
        figure.update_yaxes(title=f"{what}, ms", type="log", dtick="D2", automargin=True)
        rows = []
        for each in mine:
            shown = told(each.latency, each.calls)
            times = [ms(getattr(shown, name)) for name in ("p50", "p90", "p99", "p999", "max")]
            tails = [
                ms(told(found, each.calls).p99 if found else None) for found in (each.service, each.slip)
            ]
            rows.append([who(each), *times, *tails])
        head = ["who", "p50 ms", "p90", "p99", "p99.9", "max", "p99 from sent", "p99 sent late"]
        at = (
            f"round trip with {_in_flight(mine)}"
            if opened is None
            else f"response time at {number(opened.offered)} calls/s"
        )
        yield Plot(f"{workload}, {style}: {at}", figure, head, rows)
