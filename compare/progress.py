"""What runs, how far it is and how long it takes still: one live line on a terminal, nothing elsewhere."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn
from rich.text import Text


class TimeLeft(ProgressColumn):
    """The time left, from what a cell is known to take at first and from what the cells took later."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._pace = seconds
        self._counted = 0.0
        self._began = self._latest = time.monotonic()

    def render(self, task: Task) -> Text:
        now = time.monotonic()
        if (
            task.completed > self._counted
        ):  # only then: within a cell a pace so far would make the time left grow
            self._counted, self._latest = task.completed, now
            self._pace = max(self._pace, (now - self._began) / task.completed)
        left = max(0, round(self._pace * ((task.total or 0.0) - self._counted) - (now - self._latest)))
        return Text(f"{left // 60}:{left % 60:02} left")


class LiveProgress:
    """A watcher of a run; `seconds` is what one cell takes."""

    def __init__(self, console: Console, cells: int, seconds: float) -> None:
        self._progress = Progress(
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TimeLeft(seconds),
            TextColumn("{task.description}", markup=False),
            console=console,
            transient=True,
            disable=not console.file.isatty(),  # not `is_terminal`: FORCE_COLOR in a pipe asks for colour, not for this
            refresh_per_second=4,  # each takes some CPU from what is measured
        )
        self._task = self._progress.add_task("", total=cells)

    def begin(self, what: str) -> None:
        """This is being done now."""
        self._progress.update(self._task, description=what)

    def done(self, cells: int) -> None:
        """So many cells more are behind us, measured or given up."""
        self._progress.advance(self._task, cells)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()
