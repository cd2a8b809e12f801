"""A service whose `cpu` does 10 % more work: a difference that the self-check must detect."""

from __future__ import annotations

from ...server.declare.service import Service
from . import handlers

service = Service("slowed")


@service.method
def cpu(start: int, steps: int) -> int:
    """The same number, after more work."""
    handlers.cpu(start, steps // 10)
    return handlers.cpu(start, steps)


@service.method(inline=True)
def echo(value: bytes) -> bytes:
    """Return the value; the warm-up calls it."""
    return value
