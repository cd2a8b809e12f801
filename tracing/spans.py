"""The spans of one client or server."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import Context
from typing import Any

from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, TracerProvider
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from ..endpoints import host_of, port_of
from ..runtime import forks
from ..version import __version__
from . import TRACE_CONTEXT

_propagator = TraceContextTextMapPropagator()
_OTHER = "_OTHER"
_OK = "OK"
# Codes that mean a fault of the server rather than of its caller.
_FAULTS = frozenset(
    ["UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"]
)


class Tracing:
    """Starts spans."""

    def __init__(self, provider: TracerProvider | None, endpoints: tuple[str, ...] = ()) -> None:
        self._tracer = trace.get_tracer("ringback", __version__, provider)
        self._attributes: dict[str, Any] = {"rpc.system.name": "ringback"}
        if len(endpoints) == 1 and (host := host_of(endpoints[0])) is not None:
            self._attributes["server.address"] = host
            if (port := port_of(endpoints[0])) is not None and port.isdecimal():
                self._attributes["server.port"] = int(port)

    def call(self, method: str) -> CallSpan:
        """The span of a call made here, a child of the current span."""
        attributes = self._attributes | {"rpc.method": method}
        return CallSpan(
            self._tracer.start_span(method, kind=SpanKind.CLIENT, attributes=attributes)
        )

    def handling(self, method: str, metadata: Mapping[str, Any], within: Context) -> HandlingSpan:
        """The span of a call handled here. It becomes the current span of that context."""
        parent = _parent(metadata)
        attributes = self._attributes | {"rpc.method": method}
        span = self._tracer.start_span(method, parent, SpanKind.SERVER, attributes)
        within.run(contexts.attach, trace.set_span_in_context(span, parent))
        return HandlingSpan(span)

    def refused(
        self, method: str, metadata: Mapping[str, Any], code: str, text: str, *, known: bool
    ) -> None:
        """Record the span of a refused call; `known` says whether the method exists."""
        attributes = self._attributes | {"rpc.method": method if known else _OTHER}
        if not known:
            attributes["rpc.method_original"] = method
        name = method if known else _OTHER
        span = self._tracer.start_span(name, _parent(metadata), SpanKind.SERVER, attributes)
        HandlingSpan(span).end(code, text)


class CallSpan:
    """The client's span of a call."""

    __slots__ = ("_ended", "_generation", "_span")

    def __init__(self, span: Span) -> None:
        self._span = span
        self._ended = False
        self._generation = forks.generation

    def carrier(self) -> dict[str, str]:
        """The trace context to send with the call."""
        return _carrier(self._span)

    def end(self, code: str, text: str = "") -> None:
        """End the span."""
        if (
            not self._ended and self._generation == forks.generation
        ):  # a forked child leaves the span to its parent
            self._ended = True
            _end(self._span, code, text, failed=code != _OK)

    def __del__(self) -> None:
        """The call was never sent, for example because its caller gave up while it was queued."""
        if not self._ended:
            self.end("CANCELLED")


class HandlingSpan:
    """The server's span of a call."""

    __slots__ = ("_span",)

    def __init__(self, span: Span) -> None:
        self._span = span

    @property
    def trace_id(self) -> str:
        """The trace id for logs: 32 hexadecimal digits."""
        return trace.format_trace_id(self._span.get_span_context().trace_id)

    def carrier(self) -> dict[str, str]:
        """The trace context to send to another process of this server."""
        return _carrier(self._span)

    def end(self, code: str, text: str = "") -> None:
        """End the span."""
        _end(self._span, code, text, failed=code in _FAULTS)


def attach(carrier: Mapping[str, str]) -> None:
    """Make the carrier's trace context current, in a context that ends with the call."""
    contexts.attach(_propagator.extract(dict(carrier)))


def _parent(metadata: Mapping[str, Any]) -> contexts.Context:
    """The trace context in the metadata; a new trace's root if it is missing or invalid."""
    carrier = {
        name: value for name in TRACE_CONTEXT if isinstance(value := metadata.get(name), str)
    }
    return _propagator.extract(carrier, contexts.Context())


def _carrier(span: Span) -> dict[str, str]:
    """The trace context with that span as parent."""
    carrier: dict[str, str] = {}
    _propagator.inject(carrier, trace.set_span_in_context(span))
    return carrier


def _end(span: Span, code: str, text: str, *, failed: bool) -> None:
    span.set_attribute("rpc.status_code", code)
    if code != _OK:
        span.set_attribute("error.type", code)
    if failed:
        span.set_status(Status(StatusCode.ERROR, text or code))
    span.end()
