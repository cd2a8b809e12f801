"""What the parent asks of a load generator, as JSON on its standard input; the answers are `results.Result`, one a line."""

from __future__ import annotations

import msgspec

REQUEST_REPLY = "request-reply"
FIRE_AND_CALLBACK = "fire-and-callback"
STYLES = (REQUEST_REPLY, FIRE_AND_CALLBACK)


class Cell(msgspec.Struct, frozen=True):
    """One measurement: a warm-up, then a window, in seconds."""

    workload: str
    style: str
    concurrency: int
    warmup: float
    window: float


class Plan(msgspec.Struct, frozen=True):
    """The cells that one generator measures, in order, on one server."""

    backend: str
    workers: int
    client: str
    endpoint: str
    cells: list[Cell]
    cpu_steps: int
    timeout: float

    def patience(self, cell: Cell) -> float:
        """Seconds after which a cell cannot end any more: every call in it has had its reply or its timeout."""
        return cell.warmup + cell.window + self.timeout + 5.0

    @property
    def max_in_flight(self) -> int:
        """The client's bound, which must not be what is measured."""
        return 2 * max(10_000, *(cell.concurrency for cell in self.cells))
