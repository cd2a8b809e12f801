"""How far a server that is connected answers, as its connection tells."""

from __future__ import annotations

import enum


class Liveness(enum.Enum):
    """It answers what it is asked; or it lives, but does not answer yet; or it says nothing."""

    READY = "ready"
    BUSY = "busy"
    STALLED = "stalled"
