"""The report of a process as plain data, and the sum of several reports."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

import msgspec

from .recorder import CallRecorder, Histogram

K = TypeVar("K", str, int)


class Calls(msgspec.Struct):
    """Calls that have ended, by method and code, with streams separate."""

    calls: dict[str, dict[str, Histogram]] = {}
    streams: dict[str, dict[str, Histogram]] = {}

    @classmethod
    def of(cls, recorder: CallRecorder) -> Calls:
        """A copy of the counts. Thread-safe."""
        return cls(_nested(recorder.calls), _nested(recorder.streams))

    def add(self, other: Calls) -> None:
        """Add the counts of another."""
        for own, its in ((self.calls, other.calls), (self.streams, other.streams)):
            for method, codes in its.items():
                _add_histograms(own.setdefault(method, {}), codes)


class ServerSnapshot(msgspec.Struct):
    """A server's counts since its start, and its present state.

    `connection_bytes` is None if the transport does not report it.
    """

    ended: Calls = msgspec.field(default_factory=Calls)
    cache: dict[str, dict[str, int]] = {}  # by method and outcome
    lag: dict[str, Histogram] = {}  # of the event loop, by backend
    in_flight: dict[str, int] = {}  # by method
    waiting: dict[int, int] = {}  # by priority
    workers: dict[str, int] = {}  # by pool; next, the busy ones
    workers_taken: dict[str, int] = {}
    limits: dict[str, int] = {}  # by method
    clients: int = 0
    connection_bytes: int | None = None

    def add(self, other: ServerSnapshot) -> None:
        """Add the report of another process."""
        self.add_counters(other)
        for own, its in (
            (self.in_flight, other.in_flight),
            (self.workers, other.workers),
            (self.workers_taken, other.workers_taken),
            (self.limits, other.limits),
        ):
            _add_numbers(own, its)
        _add_numbers(self.waiting, other.waiting)
        self.clients += other.clients
        if other.connection_bytes is not None:
            self.connection_bytes = (self.connection_bytes or 0) + other.connection_bytes

    def add_counters(self, other: ServerSnapshot) -> None:
        """Add the counts of a process that has ended."""
        self.ended.add(other.ended)
        for method, outcomes in other.cache.items():
            _add_numbers(self.cache.setdefault(method, {}), outcomes)
        _add_histograms(self.lag, other.lag)


class ClientSnapshot(msgspec.Struct):
    """A client's ended calls, and its retries by service and reason."""

    ended: Calls = msgspec.field(default_factory=Calls)
    retries: dict[tuple[str, str], int] = {}


def total(snapshots: Iterable[ServerSnapshot]) -> ServerSnapshot:
    """The sum of the reports of all processes."""
    whole = ServerSnapshot()
    for each in snapshots:
        whole.add(each)
    return whole


def _nested(table: dict[tuple[str, str], Histogram]) -> dict[str, dict[str, Histogram]]:
    """A copy, by method and then by code. `dict(table)` is atomic with regard to other threads."""
    found: dict[str, dict[str, Histogram]] = {}
    for (method, code), each in dict(table).items():
        found.setdefault(method, {})[code] = each.copy()
    return found


def _add_numbers(own: dict[K, int], other: dict[K, int]) -> None:
    for key, number in other.items():
        own[key] = own.get(key, 0) + number


def _add_histograms(own: dict[str, Histogram], other: dict[str, Histogram]) -> None:
    for key, each in other.items():
        found = own.setdefault(key, Histogram())
        found.counts = [one + more for one, more in zip(found.counts, each.counts, strict=True)]
        found.seconds += each.seconds
