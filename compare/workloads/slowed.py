"""A service whose `cpu` works a tenth more: a difference that a comparison must find."""

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
    """The value: there has to be something to warm up with."""
    return value
