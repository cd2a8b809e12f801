"""Futures that handlers return and several calls may wait for, without harm to one another."""

from __future__ import annotations

from asyncio import CancelledError
from typing import Any

from .base import Report


class SharedFutures:
    """The futures of one loop that calls wait for.

    A future is cancelled when the last call that waits for it is cancelled.
    """

    def __init__(self) -> None:
        self._waits: dict[int, dict[Wait, None]] = {}

    def wait(self, future: Any, report: Report) -> tuple[Wait, bool]:
        """Add the wait of one call. Returns it, and whether it is the first for this future.

        The caller calls `settle` when the future is done.
        """
        first = id(future) not in self._waits
        wait = Wait(self._waits.setdefault(id(future), {}), future, report)
        return wait, first

    def settle(self, future: Any, result: Any, error: BaseException | None) -> None:
        """Report the outcome of the future to all calls that wait for it."""
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
