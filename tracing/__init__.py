"""OpenTelemetry spans for calls, by its conventions for RPC.

A client has one span for a call including its retries. A server has one span for each call that it
handles. The W3C trace context joins them: it travels in the call's metadata as `traceparent` and
`tracestate`.

`spans.py` has the implementation. It is imported only if tracing is on, and needs only
opentelemetry-api; exporting spans needs the SDK.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from ..errors import UsageError

if TYPE_CHECKING:
    from .spans import Tracing

# Metadata names of the trace context.
TRACE_CONTEXT = ("traceparent", "tracestate")


def tracing_of(asked: Any, *, endpoints: tuple[str, ...] = ()) -> Tracing | None:
    """A `Tracing` for the provider, or for the program's own provider if True; None for False or
    None.

    `endpoints` are those of a client's servers. Raises UsageError if opentelemetry-api is not
    installed.
    """
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
    """The trace id of the current span, as 32 hexadecimal digits; "" without one."""
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return ""
    found: int = trace.get_current_span().get_span_context().trace_id
    return f"{found:032x}" if found else ""


def is_tracing(value: Any) -> bool:
    """Whether `tracing_of` accepts the value."""
    return value is None or isinstance(value, bool) or hasattr(value, "get_tracer")
