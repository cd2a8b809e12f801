"""The service of `service.py` in a program that creates spans and discards them.

Use it with `cost.py --serve=--trace --service traced.py`.
"""

from __future__ import annotations

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from service import service

trace.set_tracer_provider(TracerProvider())

__all__ = ["service"]
