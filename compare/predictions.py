"""What the formulas of `models` say of the cells of a run, from what other cells of it measured, beside what these cells measured.

Nothing is fitted to what is predicted, but for the scalability law, whose error is told at points that it was not fitted to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from math import inf

from . import models
from .plan import FIRE_AND_CALLBACK
from .results import Law, Point, Prediction, Report, Result
from .workloads import CPU_SECONDS, IO_SECONDS, SLOW

# Backends whose handlers have threads, which share one interpreter; on the other one a handler runs to its end.
_SHARING = ("asyncio", "threading", "twisted")


def predict(report: Report) -> None:
    """Fill in the laws and predictions that the run has the measurements for."""
    report.laws = list(_laws(report.sweep))
    cells = {
        (each.backend, each.client, each.workload, each.style): each for each in report.results if each.calls
    }
    report.predictions = [
        prediction
        for result in report.results
        if result.sound and not result.overloaded
        for prediction in _predictions(
            result, lambda *key, of=result: cells.get((of.backend, of.client, *key))
        )
    ]


def _laws(sweep: list[Point]) -> Iterator[Law]:
    groups: dict[tuple[str, str, str, str], list[Point]] = {}
    for point in sweep:
        if point.throughput:
            groups.setdefault((point.backend, point.client, point.style, point.workload), []).append(point)
    for key, points in sorted(groups.items()):
        try:
            fit = models.fit_scalability(
                [point.concurrency for point in points], [point.throughput for point in points]
            )
        except (ValueError, RuntimeError):
            continue  # an interrupted sweep has too few points; a law that is not found is not shown
        law = fit.law
        peak, most = (value if value < inf else None for value in (law.peak, law.most))
        yield Law(*key, law.gamma, law.alpha, law.beta, peak, most, fit.error, fit.held_out_error, fit.valid)


Found = Callable[[str, str], Result | None]


def _predictions(cell: Result, found: Found) -> Iterator[Prediction]:
    """`found` gives another cell of the same backend and client, by workload and style."""
    lone = found("lone", "request-reply")
    busy = found("echo", FIRE_AND_CALLBACK) or found("echo", "request-reply")
    overhead = lone.latency.mean if lone is not None and lone.latency.mean is not None else 0.0
    demand = (busy.cpu.server_per_call or 0.0) if busy is not None else 0.0
    if cell.loop == "closed" and cell.workload == "io":
        yield from _closed(cell, IO_SECONDS + overhead, cell.workers, "10 ms wait and a lone call's time")
    elif cell.loop == "closed" and cell.workload == "cpu":
        yield from _closed(cell, CPU_SECONDS + demand, 1, "1 ms of computing and an echo's CPU time")
    elif cell.loop == "open" and cell.rate is not None and cell.service is not None and cell.service.mean:
        yield from _open(cell, cell.rate.offered, overhead, demand, cell.service.mean)


def _closed(cell: Result, seconds: float, workers: int, inputs: str) -> Iterator[Prediction]:
    calls = models.closed_bounds(cell.concurrency, seconds, workers=workers)
    yield _beside(cell, "throughput", "asymptotic bounds", inputs, calls, cell.throughput)
    if cell.latency.mean is not None:
        yield _beside(cell, "mean", "asymptotic bounds", inputs, cell.concurrency / calls, cell.latency.mean)


def _open(cell: Result, rate: float, overhead: float, demand: float, measured: float) -> Iterator[Prediction]:
    """Of the time from when a call was sent, as no formula knows how late a timer sends it."""
    name, inputs = "", ""
    predict: Callable[[], float] | None = None
    if cell.workload in ("echo", "echo-rate") and overhead:
        name, inputs = "M/G/1 at both ends", "CPU time a call at either end, a lone call's time"
        predict = partial(
            _both_ends, rate, overhead, cell.cpu.server_per_call or 0.0, cell.cpu.client_per_call or 0.0
        )
    elif cell.workload == "io":
        name, inputs = "M/M/c, Allen-Cunneen", f"10 ms wait, a lone call's time, {cell.workers} workers"
        predict = partial(models.mmc, rate, IO_SECONDS + overhead, cell.workers, 0.0)
    elif cell.workload in ("cpu", "mixed"):
        slow = CPU_SECONDS + demand
        part = SLOW if cell.workload == "mixed" else 1.0
        mean = part * slow + (1 - part) * demand
        square = part * slow**2 + (1 - part) * demand**2
        inputs = "1 ms of computing, an echo's CPU time, a lone call's time"
        if cell.backend in _SHARING:
            name, predict = "M/G/1-PS", partial(_shared, rate, overhead, mean)
        else:
            name, predict = "M/G/1", partial(_in_turn, rate, overhead, mean, square)
    if predict is not None:
        try:
            predicted = predict()
        except (
            ValueError
        ):  # by the formula the server is overloaded; that it was not is told by the cell itself
            return
        yield _beside(cell, "mean", name, inputs, predicted, measured)


def _both_ends(rate: float, overhead: float, server: float, client: float) -> float:
    """A lone call's time, and the waits in two queues of calls that take always the same."""
    waits = (models.mg1(rate, seconds, seconds**2) - seconds for seconds in (server, client) if seconds)
    return overhead + sum(waits)


def _shared(rate: float, overhead: float, mean: float) -> float:
    return overhead + models.mg1_ps(rate, mean)


def _in_turn(rate: float, overhead: float, mean: float, square: float) -> float:
    return overhead + models.mg1(rate, mean, square)


def _beside(
    cell: Result, metric: str, model: str, inputs: str, predicted: float, measured: float
) -> Prediction:
    off = models.error(predicted, measured)
    return Prediction(
        cell.backend,
        cell.client,
        cell.style,
        cell.workload,
        metric,
        model,
        inputs,
        predicted,
        measured,
        off,
        models.judge(off),
    )
