"""What the formulas of `models` say of the cells of a run, from what other cells of it measured, beside what these cells measured.

Nothing comes from the cell that is predicted but how its calls come, and nothing is fitted to it.
Each prediction says what it was made from.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from ..load.plan import FIRE_AND_CALLBACK, REQUEST_REPLY
from ..results import Prediction, Report, Result
from ..workloads.handlers import CPU_SECONDS, IO_SECONDS
from ..workloads.table import SLOW
from . import models

# Backends whose handlers have threads, which share one interpreter; on the other one a handler runs to its end.
_SHARING = ("asyncio", "threading", "twisted")


def predict(report: Report) -> None:
    """Fill in the predictions that the run has the measurements for."""
    sound = [each for each in report.results if each.sound and not each.overloaded and not _pushed(each)]
    late = report.environment.sleep_overshoot
    for cell in sound:
        beside = {
            (each.workload, each.style): each
            for each in sound
            if each is not cell and (each.arm, each.client) == (cell.arm, cell.client)
        }
        report.predictions += _predictions(cell, _Known(beside, 0.0 if late is None else late.p50))


def _pushed(cell: Result) -> bool:
    """Whether it is the workload that has more calls come than can be done: no formula here knows of time limits."""
    return cell.rate is not None and cell.rate.peak is not None


class _Time(NamedTuple):
    """Seconds, and in words of what."""

    seconds: float
    words: str

    def plus(self, other: _Time) -> _Time:
        """Both, one after the other."""
        words = filter(None, (self.words, other.words))
        return _Time(self.seconds + other.seconds, ", ".join(words))


_NOTHING = _Time(0.0, "")


class _Known(NamedTuple):
    """The other cells of the same arm and client, by workload and style; and by how much a sleep ends late."""

    cells: dict[tuple[str, str], Result]
    late: float

    @property
    def lone(self) -> _Time:
        """A call's way there and back, as nobody else calls."""
        cell = self.cells.get(("lone", REQUEST_REPLY))
        times = cell and (cell.service or cell.latency)
        return _Time(times.mean, "a lone call's time") if times and times.mean else _NOTHING

    @property
    def echo(self) -> Result | None:
        """The cell that tells what a call costs, without what a handler does."""
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
        """A call of `io`."""
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
        """The server's CPU time for a call of `cpu`: as measured in another style, else as the work was measured out."""
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
    """Of the time from when a call was sent, as no formula knows how late a timer sends it."""
    try:
        found = _response(cell, rate, known)
    except ValueError:  # by the formula the server is overloaded; that it was not is told by the cell itself
        return
    if found is not None:
        name, inputs, predicted = found
        yield _beside(cell, "mean", name, inputs, predicted, measured)


def _response(cell: Result, rate: float, known: _Known) -> tuple[str, str, float] | None:
    """The model, what it was given, and seconds; None where there is no model or not enough to give it."""
    if cell.workload == "io":
        inputs = f"{known.wait.words}, {cell.workers} workers"
        return "M/M/c, Allen-Cunneen", inputs, models.mmc(rate, known.wait.seconds, cell.workers, 0.0)
    if cell.workload in ("cpu", "mixed"):
        return _computed(cell, rate, known)
    return None


def _computed(cell: Result, rate: float, known: _Known) -> tuple[str, str, float]:
    slow, quick, lone = known.computing, known.handling, known.lone
    part = SLOW if cell.workload == "mixed" else 1.0
    mean = part * slow.seconds + (1 - part) * quick.seconds
    square = part * slow.seconds**2 + (1 - part) * quick.seconds**2
    inputs = slow.plus(quick if part < 1 and quick.words not in slow.words else _NOTHING).plus(lone).words
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
