"""A service whose `cpu` works a tenth more: a difference that a comparison must find."""

from __future__ import annotations

from ..server.service import Service
from . import workloads

service = Service("slowed")


@service.method
def cpu(start: int, steps: int) -> int:
    """The same number, after more work."""
    workloads.cpu(start, steps // 10)
    return workloads.cpu(start, steps)


@service.method(inline=True)
def echo(value: bytes) -> bytes:
    """The value: there has to be something to warm up with."""
    return value
