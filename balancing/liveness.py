"""The liveness of a connected server, as its connection reports it."""

from __future__ import annotations

import enum


class Liveness(enum.Enum):
    """READY: it replies to pings.
    BUSY: it is alive, but does not reply yet. STALLED: it sends nothing."""

    READY = "ready"
    BUSY = "busy"
    STALLED = "stalled"
