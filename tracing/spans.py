"""The spans of one client, or of one server."""

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
# Codes with which a server says that it has failed, and not its caller.
_FAULTS = frozenset(["UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"])


class Tracing:
    """Starts the spans."""

    def __init__(self, provider: TracerProvider | None, endpoints: tuple[str, ...] = ()) -> None:
        self._tracer = trace.get_tracer("ringback", __version__, provider)
        self._attributes: dict[str, Any] = {"rpc.system.name": "ringback"}
        if len(endpoints) == 1 and (host := host_of(endpoints[0])) is not None:
            self._attributes["server.address"] = host
            if (port := port_of(endpoints[0])) is not None and port.isdecimal():
                self._attributes["server.port"] = int(port)

    def call(self, method: str) -> CallSpan:
        """Of a call that is made here, within whatever span is current."""
        attributes = self._attributes | {"rpc.method": method}
        return CallSpan(self._tracer.start_span(method, kind=SpanKind.CLIENT, attributes=attributes))

    def handling(self, method: str, metadata: Mapping[str, Any], within: Context) -> HandlingSpan:
        """Of a call that is handled here. It is the current span in that context."""
        parent = _parent(metadata)
        attributes = self._attributes | {"rpc.method": method}
        span = self._tracer.start_span(method, parent, SpanKind.SERVER, attributes)
        within.run(contexts.attach, trace.set_span_in_context(span, parent))
        return HandlingSpan(span)

    def refused(self, method: str, metadata: Mapping[str, Any], code: str, text: str, *, known: bool) -> None:
        """Of a call that was not handled; `known`: whether there is such a method."""
        attributes = self._attributes | {"rpc.method": method if known else _OTHER}
        if not known:
            attributes["rpc.method_original"] = method
        name = method if known else _OTHER
        span = self._tracer.start_span(name, _parent(metadata), SpanKind.SERVER, attributes)
        HandlingSpan(span).end(code, text)


class CallSpan:
    """Of a call, at its client."""

    __slots__ = ("_ended", "_generation", "_span")

    def __init__(self, span: Span) -> None:
        self._span = span
        self._ended = False
        self._generation = forks.generation

    def carrier(self) -> dict[str, str]:
        """What travels with the call."""
        return _carrier(self._span)

    def end(self, code: str, text: str = "") -> None:
        """The call has ended."""
        if not self._ended and self._generation == forks.generation:  # in a child, it is the parent's
            self._ended = True
            _end(self._span, code, text, failed=code != _OK)

    def __del__(self) -> None:
        """The call was never sent, such as one that waited for room when its caller gave it up."""
        if not self._ended:
            self.end("CANCELLED")


class HandlingSpan:
    """Of a call, at its server."""

    __slots__ = ("_span",)

    def __init__(self, span: Span) -> None:
        self._span = span

    @property
    def trace_id(self) -> str:
        """As logs have it: 32 hexadecimal digits."""
        return trace.format_trace_id(self._span.get_span_context().trace_id)

    def carrier(self) -> dict[str, str]:
        """What travels to another process of this server."""
        return _carrier(self._span)

    def end(self, code: str, text: str = "") -> None:
        """The call has been answered."""
        _end(self._span, code, text, failed=code in _FAULTS)


def attach(carrier: Mapping[str, str]) -> None:
    """Make what a carrier says current, in a context that ends with the call."""
    contexts.attach(_propagator.extract(dict(carrier)))


def _parent(metadata: Mapping[str, Any]) -> contexts.Context:
    """What the metadata say, whatever they are; the root of a new trace where they say nothing."""
    carrier = {name: value for name in TRACE_CONTEXT if isinstance(value := metadata.get(name), str)}
    return _propagator.extract(carrier, contexts.Context())


def _carrier(span: Span) -> dict[str, str]:
    """What makes that span the parent elsewhere."""
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
