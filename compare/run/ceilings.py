"""What the load generators get out of a server that does nothing, and whether it was the generator that could do no more."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from ..results import Ceiling, Limit
from .pair import Window

# An end that used less of its processor than this could have done more.
_FREE = 0.85


class Ceilings:
    """Those of one run, by client and call style; windows come as they are measured."""

    def __init__(self) -> None:
        self._windows: dict[tuple[str, str], list[Window]] = {}

    def add(self, client: str, window: Window) -> None:
        """One window before the server that does nothing."""
        self._windows.setdefault((client, window.load.style), []).append(window)

    def of(self, client: str, style: str) -> float | None:
        """Calls/s that no cell of this client and style can exceed. None where that is not known: a server that was the limit even though
        it does nothing says nothing of the generator."""
        windows = self._windows.get((client, style))
        if windows is None or busiest(windows) == "server":
            return None
        return _throughput(windows)

    def all(self) -> list[Ceiling]:
        """As the report has them."""
        return [
            Ceiling(client, style, _throughput(windows), [_rate(each) for each in windows], busiest(windows))
            for (client, style), windows in sorted(self._windows.items())
        ]


def busiest(windows: Sequence[Window]) -> Limit:
    """The end that had less to spare, if either had little."""
    server, client = busy(windows)
    if max(server, client) < _FREE:
        return "waiting"
    return "server" if server >= client else "client"


def busy(windows: Sequence[Window]) -> tuple[float, float]:
    """The part of the time in which the server, and the client, had nothing to spare."""
    server, client = (
        median(getattr(each.observed.cpu, name) or 0.0 for each in windows)
        for name in ("server_busy", "client_busy")
    )
    return server, client


def _throughput(windows: Sequence[Window]) -> float:
    """The median of the windows that nothing disturbed. If there are none, the most: what disturbs can only have lowered it."""
    quiet = [_rate(each) for each in windows if not each.observed.contaminated]
    return median(quiet) if quiet else max(_rate(each) for each in windows)


def _rate(window: Window) -> float:
    return window.sample.calls / window.load.window
