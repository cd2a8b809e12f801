"""Futures of a handler's own, which several calls may wait for: what one of them does harms none of the others."""

from __future__ import annotations

from asyncio import CancelledError
from typing import Any

from .base import Report


class SharedFutures:
    """The futures of one loop that calls wait for. A future is cancelled when the last call that waits for it is."""

    def __init__(self) -> None:
        self._waits: dict[int, dict[Wait, None]] = {}

    def wait(self, future: Any, report: Report) -> tuple[Wait, bool]:
        """One call more, and whether it is the first: `settle` is to be called when the future has come to its end."""
        first = id(future) not in self._waits
        wait = Wait(self._waits.setdefault(id(future), {}), future, report)
        return wait, first

    def settle(self, future: Any, result: Any, error: BaseException | None) -> None:
        """Tell all who wait for it what it has come to."""
        for wait in self._waits.pop(id(future), ()):
            wait.report(result, error)


class Wait:
    """The wait of one call."""

    __slots__ = ("_future", "_others", "report")

    def __init__(self, others: dict[Wait, None], future: Any, report: Report) -> None:
        self._future = future
        self._others = others
        self.report = report
        others[self] = None

    def cancel(self) -> None:
        if len(self._others) > 1:
            self._others.pop(self, None)
            self.report(None, CancelledError())
        else:
            self._future.cancel()
