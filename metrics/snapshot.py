"""What a process reports at one moment, as plain data, and the sum of the reports of many."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

import msgspec

from .recorder import CallRecorder, Histogram

K = TypeVar("K", str, int)


class Calls(msgspec.Struct):
    """Calls that have ended, by method and code; streams apart."""

    calls: dict[str, dict[str, Histogram]] = {}
    streams: dict[str, dict[str, Histogram]] = {}

    @classmethod
    def of(cls, recorder: CallRecorder) -> Calls:
        """From any thread."""
        return cls(_nested(recorder.calls), _nested(recorder.streams))

    def add(self, other: Calls) -> None:
        """Add those of another."""
        for own, its in ((self.calls, other.calls), (self.streams, other.streams)):
            for method, codes in its.items():
                _add_histograms(own.setdefault(method, {}), codes)


class ServerSnapshot(msgspec.Struct):
    """Of a server: what is counted from its start, and what there is at the moment. `None`: the transport does not tell."""

    ended: Calls = msgspec.field(default_factory=Calls)
    cache: dict[str, dict[str, int]] = {}  # by method and outcome
    lag: dict[str, Histogram] = {}  # of the event loop, by backend
    in_flight: dict[str, int] = {}  # by method
    waiting: dict[int, int] = {}  # by priority
    workers: dict[str, int] = {}  # by pool, and those of them that are taken
    workers_taken: dict[str, int] = {}
    limits: dict[str, int] = {}  # by method
    clients: int = 0
    connection_bytes: int | None = None

    def add(self, other: ServerSnapshot) -> None:
        """Add what another process reports."""
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
        """Add what remains of a process that has ended: what it has counted."""
        self.ended.add(other.ended)
        for method, outcomes in other.cache.items():
            _add_numbers(self.cache.setdefault(method, {}), outcomes)
        _add_histograms(self.lag, other.lag)


class ClientSnapshot(msgspec.Struct):
    """Of a client: the calls that have ended, and how often calls were sent again, by service and reason."""

    ended: Calls = msgspec.field(default_factory=Calls)
    retries: dict[tuple[str, str], int] = {}


def total(snapshots: Iterable[ServerSnapshot]) -> ServerSnapshot:
    """The sum of what all processes report."""
    whole = ServerSnapshot()
    for each in snapshots:
        whole.add(each)
    return whole


def _nested(table: dict[tuple[str, str], Histogram]) -> dict[str, dict[str, Histogram]]:
    """A copy, by method and then by code. (`dict(table)` is one step, whatever other threads do.)"""
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
