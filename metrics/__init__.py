"""Prometheus metrics of servers and clients.

`recorder.py` counts calls where they end, `snapshot.py` is what a process reports as plain data and how the reports of many processes are
added up, `families.py` gives them to prometheus-client, `page.py` answers scrapes in threads of its own, so that a blocked event loop
can be watched too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ..errors import UsageError

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from .families import Observed, RingbackCollector


def collector(of: Observed) -> RingbackCollector:
    """A collector of prometheus-client for a `ringback.Server`, or for a client of any style:
    `prometheus_client.REGISTRY.register(ringback.metrics.collector(server))`. Calls are counted from now on.
    Raises UsageError where prometheus-client is not installed, or for another object."""
    from .families import RingbackCollector

    observe = getattr(of, "observe", None)
    if observe is None:
        raise UsageError(f"metrics are those of a ringback.Server or of a client, not of {of!r:.200}")
    return RingbackCollector(observe())


def expose(where: str | CollectorRegistry, of: Observed) -> Callable[[], object]:
    """Serve the metrics at HOST:PORT, or by a registry of the caller's. Returns the function that ends this. Raises UsageError where
    prometheus-client is not installed, or the address cannot be had."""
    own = collector(of)
    if not isinstance(where, str):
        try:
            where.register(own)
        except ValueError:
            raise UsageError("metrics: the registry has those of another server: give each its own") from None
        return lambda: where.unregister(own)
    from prometheus_client import CollectorRegistry

    from .page import MetricsPage

    registry = CollectorRegistry()
    registry.register(own)
    return MetricsPage(where, registry).close
