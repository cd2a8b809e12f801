"""Prometheus metrics of servers and clients.

`recorder.py` counts calls when they end. `snapshot.py` holds a process's report as plain data and
sums the reports of several processes. `families.py` converts them for prometheus-client. `page.py`
answers scrapes in its own threads, so that a blocked event loop can be observed, too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ..errors import UsageError

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from .families import Observed, RingbackCollector


def collector(of: Observed) -> RingbackCollector:
    """A prometheus-client collector for a `ringback.Server` or a client of any style.

    Register it with `prometheus_client.REGISTRY.register(ringback.metrics.collector(server))`. It
    counts calls from now on. Raises UsageError if prometheus-client is not installed, or for
    another object.
    """
    from .families import RingbackCollector

    observe = getattr(of, "observe", None)
    if observe is None:
        raise UsageError(f"metrics need a ringback.Server or a client, not {of!r:.200}")
    return RingbackCollector(observe())


def expose(where: str | CollectorRegistry, of: Observed) -> Callable[[], object]:
    """Serve the metrics at HOST:PORT, or register them with the given registry.

    Returns the function that ends this. Raises UsageError if prometheus-client is not installed or
    the address is not available.
    """
    own = collector(of)
    if not isinstance(where, str):
        try:
            where.register(own)
        except ValueError:
            raise UsageError(
                "metrics: the registry has those of another server: use one registry per server"
            ) from None
        return lambda: where.unregister(own)
    from prometheus_client import CollectorRegistry

    from .page import MetricsPage

    registry = CollectorRegistry()
    registry.register(own)
    return MetricsPage(where, registry).close
