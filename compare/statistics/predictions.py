"""Predictions of `models` for the cells of a run, from measurements of its other cells.

From the predicted cell itself they use only its load, and nothing is fitted to it. Each prediction
lists its inputs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from ..load.plan import FIRE_AND_CALLBACK, REQUEST_REPLY
from ..results import Prediction, Report, Result
from ..workloads.handlers import CPU_SECONDS, IO_SECONDS
from ..workloads.table import SLOW
from . import models

# Backends whose handlers run in threads, which share one interpreter. On gevent a handler computes
# to its end.
_SHARING = ("asyncio", "threading", "twisted")


def predict(report: Report) -> None:
    """Fill in the predictions for which the run has the measurements."""
    sound = [
        each for each in report.results if each.sound and not each.overloaded and not _pushed(each)
    ]
    late = report.environment.sleep_overshoot
    for cell in sound:
        beside = {
            (each.workload, each.style): each
            for each in sound
            if each is not cell and (each.arm, each.client) == (cell.arm, cell.client)
        }
        report.predictions += _predictions(cell, _Known(beside, 0.0 if late is None else late.p50))


def _pushed(cell: Result) -> bool:
    """Whether the cell is a deliberate overload: no formula here models timeouts."""
    return cell.rate is not None and cell.rate.peak is not None


class _Time(NamedTuple):
    """Seconds, and their description."""

    seconds: float
    words: str

    def plus(self, other: _Time) -> _Time:
        """The sum of both."""
        words = filter(None, (self.words, other.words))
        return _Time(self.seconds + other.seconds, ", ".join(words))


_NOTHING = _Time(0.0, "")


class _Known(NamedTuple):
    """The other cells of the same arm and client, by workload and style; `late` is the seconds by
    which a sleep ends late."""

    cells: dict[tuple[str, str], Result]
    late: float

    @property
    def lone(self) -> _Time:
        """The response time of a single call on an idle server."""
        cell = self.cells.get(("lone", REQUEST_REPLY))
        times = cell and (cell.service or cell.latency)
        return _Time(times.mean, "a lone call's time") if times and times.mean else _NOTHING

    @property
    def echo(self) -> Result | None:
        """The cell with the cost of a call whose handler does nothing."""
        return next(
            (
                found
                for style in (FIRE_AND_CALLBACK, REQUEST_REPLY)
                if (found := self.cells.get(("echo", style)))
            ),
            None,
        )

    @property
    def wait(self) -> _Time:
        """The response time of a call of `io`."""
        late = _Time(self.late, "how late a sleep ends") if self.late else _NOTHING
        return _Time(IO_SECONDS, f"{IO_SECONDS * 1000:.0f} ms wait").plus(late).plus(self.lone)

    @property
    def handling(self) -> _Time:
        """The server's CPU time for a call that does nothing."""
        found = self.echo
        if found is None or not found.cpu.server_per_call:
            return _NOTHING
        return _Time(found.cpu.server_per_call, f"server CPU time of echo by {found.style}")

    @property
    def computing(self) -> _Time:
        """The server's CPU time for a call of `cpu`: as measured in another cell, else as
        calibrated."""
        for style in (REQUEST_REPLY, FIRE_AND_CALLBACK):
            found = self.cells.get(("cpu", style))
            if found is not None and found.cpu.server_per_call:
                return _Time(found.cpu.server_per_call, f"server CPU time of cpu by {style}")
        return _Time(CPU_SECONDS, f"{CPU_SECONDS * 1000:.0f} ms of computing, as calibrated").plus(
            self.handling
        )


def _predictions(cell: Result, known: _Known) -> Iterator[Prediction]:
    if cell.loop == "closed" and cell.workload == "io":
        yield from _closed(cell, known.wait, cell.workers)
    elif cell.loop == "closed" and cell.workload == "cpu":
        yield from _closed(cell, known.computing, 1)
    elif cell.rate is not None and cell.service is not None and cell.service.mean:
        yield from _open(cell, cell.rate.offered, known, cell.service.mean)


def _closed(cell: Result, time: _Time, workers: int) -> Iterator[Prediction]:
    calls = models.closed_bounds(cell.concurrency, time.seconds, workers=workers)
    yield _beside(cell, "throughput", "asymptotic bounds", time.words, calls, cell.throughput)
    if cell.latency.mean is not None:
        callers = cell.concurrency / calls
        yield _beside(cell, "mean", "asymptotic bounds", time.words, callers, cell.latency.mean)


def _open(cell: Result, rate: float, known: _Known, measured: float) -> Iterator[Prediction]:
    """Predict the time from when a call was sent: no formula models late timers."""
    try:
        found = _response(cell, rate, known)
    except ValueError:  # overloaded by the formula, although the cell shows that it was not
        return
    if found is not None:
        name, inputs, predicted = found
        yield _beside(cell, "mean", name, inputs, predicted, measured)


def _response(cell: Result, rate: float, known: _Known) -> tuple[str, str, float] | None:
    """The model, its inputs in words, and the seconds; None if no model applies."""
    if cell.workload == "io":
        inputs = f"{known.wait.words}, {cell.workers} workers"
        return (
            "M/M/c, Allen-Cunneen",
            inputs,
            models.mmc(rate, known.wait.seconds, cell.workers, 0.0),
        )
    if cell.workload in ("cpu", "mixed"):
        return _computed(cell, rate, known)
    return None


def _computed(cell: Result, rate: float, known: _Known) -> tuple[str, str, float]:
    slow, quick, lone = known.computing, known.handling, known.lone
    part = SLOW if cell.workload == "mixed" else 1.0
    mean = part * slow.seconds + (1 - part) * quick.seconds
    square = part * slow.seconds**2 + (1 - part) * quick.seconds**2
    inputs = (
        slow.plus(quick if part < 1 and quick.words not in slow.words else _NOTHING)
        .plus(lone)
        .words
    )
    if cell.backend in _SHARING:
        return "M/G/1-PS", inputs, lone.seconds + models.mg1_ps(rate, mean)
    return "M/G/1", inputs, lone.seconds + models.mg1(rate, mean, square)


def _beside(
    cell: Result, metric: str, model: str, inputs: str, predicted: float, measured: float
) -> Prediction:
    off = models.error(predicted, measured)
    return Prediction(
        cell.arm,
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
