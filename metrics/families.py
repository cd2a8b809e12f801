"""Converts snapshots to metrics of prometheus-client."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate
from typing import Any, Protocol

from ..errors import UsageError
from .recorder import BOUNDS, Histogram
from .snapshot import Calls, ClientSnapshot, ServerSnapshot

try:
    from prometheus_client.core import (
        CounterMetricFamily,
        GaugeMetricFamily,
        HistogramMetricFamily,
        Metric,
    )
    from prometheus_client.registry import Collector
except ImportError:
    raise UsageError(
        "metrics need prometheus-client: install it with pip install 'ringback[metrics]'"
    ) from None


class Observed(Protocol):
    """A `ringback.Server` or a client."""

    def observe(self) -> Callable[[], ServerSnapshot | ClientSnapshot]:
        """Count calls from now on. Returns the function that reports the counts, which is
        thread-safe."""


class RingbackCollector(Collector):
    """The collector that a registry calls at each scrape."""

    def __init__(self, report: Callable[[], ServerSnapshot | ClientSnapshot]) -> None:
        self._report = report

    def collect(self) -> Iterable[Metric]:
        """The metrics at this moment."""
        return families(self._report())

    def describe(self) -> Iterable[Metric]:
        """Its metrics, by whose names a registry detects duplicates."""
        return self.collect()


def families(snapshot: ServerSnapshot | ClientSnapshot) -> Iterator[Metric]:
    """The metrics of a snapshot."""
    return _of_server(snapshot) if isinstance(snapshot, ServerSnapshot) else _of_client(snapshot)


def _of_server(snapshot: ServerSnapshot) -> Iterator[Metric]:
    calls = CounterMetricFamily(
        "ringback_server_calls",
        "Calls that have ended, including streams",
        labels=["method", "code"],
    )
    ended: Counter[tuple[str, str]] = Counter()
    for table in (snapshot.ended.calls, snapshot.ended.streams):
        for method, codes in table.items():
            ended.update({(method, code): sum(each.counts) for code, each in codes.items()})
    for labels, number in ended.items():
        calls.add_metric(list(labels), number)
    yield calls
    yield from _durations("server", snapshot.ended)
    cache = CounterMetricFamily(
        "ringback_cache_requests", "Calls of methods with a cache", labels=["method", "outcome"]
    )
    for method, outcomes in snapshot.cache.items():
        for outcome, number in outcomes.items():
            cache.add_metric([method, outcome], number)
    yield cache
    lag = HistogramMetricFamily(
        "ringback_loop_lag_seconds",
        "Time until the event loop runs a queued callback",
        labels=["backend"],
    )
    for backend, each in snapshot.lag.items():
        _add(lag, [backend], each)
    yield lag
    for name, text, label, values in (
        ("in_flight", "Calls that run or wait to run", "method", snapshot.in_flight),
        ("waiting", "Calls that wait to run", "priority", snapshot.waiting),
        ("workers", "Workers of a pool", "pool", snapshot.workers),
        (
            "workers_taken",
            "Workers of a pool that are running a call",
            "pool",
            snapshot.workers_taken,
        ),
        ("limit", "Maximum calls of a method at once", "method", snapshot.limits),
    ):
        gauge = GaugeMetricFamily(f"ringback_server_{name}", text, labels=[label])
        numbers: Any = values
        for key, number in sorted(numbers.items()):
            gauge.add_metric([str(key)], number)
        yield gauge
    yield GaugeMetricFamily("ringback_server_clients", "Connected clients", value=snapshot.clients)
    if snapshot.connection_bytes is not None:
        text = "Bytes received and not yet handled"
        yield GaugeMetricFamily(
            "ringback_server_connection_bytes", text, value=snapshot.connection_bytes
        )


def _of_client(snapshot: ClientSnapshot) -> Iterator[Metric]:
    yield from _durations("client", snapshot.ended)
    retries = CounterMetricFamily(
        "ringback_client_retries", "Calls that were sent again", labels=["service", "reason"]
    )
    for labels, number in snapshot.retries.items():
        retries.add_metric(list(labels), number)
    yield retries


def _durations(side: str, ended: Calls) -> Iterator[Metric]:
    for name, text, table in (
        (f"rpc_{side}_call_duration_seconds", "Duration of calls", ended.calls),
        (f"ringback_{side}_stream_duration_seconds", "Duration of streams", ended.streams),
    ):
        family = HistogramMetricFamily(name, text, labels=["rpc_method", "rpc_status_code"])
        for method, codes in table.items():
            for code, each in codes.items():
                _add(family, [method, code], each)
        yield family


def _add(family: HistogramMetricFamily, labels: list[str], each: Histogram) -> None:
    bounds = [*map(str, BOUNDS), "+Inf"]
    buckets = list(zip(bounds, accumulate(each.counts), strict=True))
    family.add_metric(labels, buckets, each.seconds)
