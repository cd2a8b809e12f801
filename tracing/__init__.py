"""Spans of OpenTelemetry for calls, by its conventions for RPC: one of the client for a call with all that is sent again, one of the server
for each call that it handles. The W3C trace context joins them: it travels in the call's metadata as `traceparent` and `tracestate`.

`spans.py` is all of it; it is imported where tracing is asked for, and needs opentelemetry-api alone. Whoever exports spans brings the SDK.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from ..errors import UsageError

if TYPE_CHECKING:
    from .spans import Tracing

# What travels in the metadata.
TRACE_CONTEXT = ("traceparent", "tracestate")


def tracing_of(asked: Any, *, endpoints: tuple[str, ...] = ()) -> Tracing | None:
    """What traces by that provider, or by the program's own where True is given; None for False or None. `endpoints`: of a client's
    servers. Raises UsageError where opentelemetry-api is not installed."""
    if asked is None or asked is False:
        return None
    try:
        from .spans import Tracing
    except ImportError:
        raise UsageError(
            "tracing needs opentelemetry-api: install it with pip install 'ringback[tracing]'"
        ) from None
    return Tracing(None if asked is True else asked, endpoints)


def current_trace_id() -> str:
    """Of the span that is current, as 32 hexadecimal digits; "" where there is none."""
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return ""
    found: int = trace.get_current_span().get_span_context().trace_id
    return f"{found:032x}" if found else ""


def is_tracing(value: Any) -> bool:
    """Whether `tracing_of` takes it."""
    return value is None or isinstance(value, bool) or hasattr(value, "get_tracer")
