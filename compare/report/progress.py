"""Live progress on a terminal: current work, time left and the figures so far; elsewhere nothing.

It is drawn between slices only, so that it takes no processor time from them.
"""

from __future__ import annotations

import time
from statistics import median
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ..run.measured import Measured


class LiveProgress:
    """Shows the progress of a run; see `rounds.Watcher`."""

    def __init__(self, console: Console) -> None:
        # Not `is_terminal`: FORCE_COLOR in a pipe asks for colour only.
        self._shown = console.file.isatty()
        self._live = Live(console=console, transient=True, auto_refresh=False)
        self._rounds = self._number = 0
        self._what = ""
        self._seconds = 0.0
        self._since = time.monotonic()
        self._values: dict[tuple[str, str], dict[str, Measured]] = {}

    def planned(self, rounds: int, seconds: float) -> None:
        """The run will have these rounds, and ends in about `seconds`."""
        self._rounds, self._seconds, self._since = rounds, seconds, time.monotonic()

    def begin(self, number: int, what: str) -> None:
        """This work begins now, in round `number`."""
        self._number, self._what = number, what
        self._draw()

    def measured(self, cell: Measured | None = None) -> None:
        """A slice has ended, or a round of this cell, which is shown."""
        if cell is not None:
            row = cell.load.workload, cell.load.style
            self._values.setdefault(row, {})[_column(cell)] = cell
        self._draw()

    @property
    def left(self) -> float:
        """Estimated seconds until the end."""
        return max(0.0, self._seconds - (time.monotonic() - self._since))

    def _draw(self) -> None:
        if self._shown:
            self._live.update(self._view(), refresh=True)

    def _view(self) -> RenderableType:
        left = round(self.left)
        where = f"round {self._number}/{self._rounds}" if self._number else "calibration"
        line = Text(f"{where}, {self._what} | {left // 60}:{left % 60:02} left", no_wrap=True)
        if not self._values:
            return line
        columns = sorted({column for row in self._values.values() for column in row})
        table = Table("calls/s, median so far", box=None, pad_edge=False)
        for column in columns:
            table.add_column(column, justify="right", no_wrap=True)
        for (workload, style), cells in self._values.items():
            table.add_row(
                f"{workload}, {style}", *(_value(cells.get(column)) for column in columns)
            )
        return Group(line, table)

    def __enter__(self) -> Self:
        if self._shown:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._shown:
            self._live.stop()


def _column(cell: Measured) -> str:
    return cell.arm if cell.peer or cell.client == "threading" else f"{cell.arm} < {cell.client}"


def _value(cell: Measured | None) -> str:
    return f"{median(each.throughput for each in cell.rounds):,.0f}" if cell and cell.rounds else ""
