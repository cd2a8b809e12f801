"""A chain of services, each of which calls the next: asyncio -> Twisted -> gevent -> threads;
`TRACED_NEXT` is the next one's endpoint.
Spans go to the file `TRACED_SPANS`, as JSON lines."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from typing import Any

import ringback
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import (
    BatchSpanProcessor,
    SimpleSpanProcessor,
    SpanExporter,
    SpanExportResult,
)


def plain(span: ReadableSpan) -> dict[str, Any]:
    """A span as the tests look at it."""
    assert span.context is not None
    return {
        "name": span.name,
        "kind": span.kind.name,
        "trace": trace.format_trace_id(span.context.trace_id),
        "id": trace.format_span_id(span.context.span_id),
        "parent": None if span.parent is None else trace.format_span_id(span.parent.span_id),
        "attributes": dict(span.attributes or {}),
        "status": span.status.status_code.name,
        "process": os.getpid(),
    }


class ToFile(SpanExporter):
    """One line a span."""

    def __init__(self, path: str) -> None:
        self._path = path

    def export(self, spans: Any) -> SpanExportResult:
        with open(self._path, "a") as file:
            for span in spans:
                file.write(json.dumps(plain(span)) + "\n")
        return SpanExportResult.SUCCESS


if "TRACED_SPANS" in os.environ:
    provider = TracerProvider()
    exporter = ToFile(os.environ["TRACED_SPANS"])
    batch = "TRACED_BATCH" in os.environ
    provider.add_span_processor(
        BatchSpanProcessor(exporter, schedule_delay_millis=100)
        if batch
        else SimpleSpanProcessor(exporter)
    )
    trace.set_tracer_provider(provider)

service = ringback.Service("traced")
NEXT = os.environ.get("TRACED_NEXT", "")
BACKEND = os.environ.get("TRACED_BACKEND", "")


def current() -> str:
    """The span that is current, as a handler sees it."""
    return trace.format_span_id(trace.get_current_span().get_span_context().span_id)


if BACKEND == "asyncio":
    from ringback.clients import asyncio as style
elif BACKEND == "gevent":
    from ringback.clients import gevent as style  # type: ignore[no-redef]
else:
    from ringback.clients import threading as style  # type: ignore[no-redef]

client = style.connect(NEXT, trace=True) if NEXT else None

if BACKEND == "asyncio":

    @service.method
    async def chain(path: list[str]) -> list[str]:
        path = [*path, current()]
        return path if client is None else await client.call("chain", path)

else:

    @service.method
    def chain(path: list[str]) -> list[str]:
        path = [*path, current()]
        return path if client is None else client.call("chain", path)


@service.method(inline=True)
def inline() -> str:
    return current()


@service.method
async def awaited() -> str:
    return current()


@service.method
def threaded() -> str:
    return current()


@service.method(executor="process")
def elsewhere() -> str:
    with trace.get_tracer("test").start_as_current_span("inner"):
        return trace.format_trace_id(trace.get_current_span().get_span_context().trace_id)


@service.method
def count(n: int) -> Iterator[str]:
    for _ in range(n):
        yield current()


@service.method(once=True)
def pay() -> str:
    return current()


@service.method
def fail(code: str) -> None:
    if code == "raise":
        raise KeyError("x")
    raise ringback.errors.CallError("as it was asked", code=code)


@service.method(idempotent=True)
def noted() -> None:
    logging.getLogger("traced").warning("it was noted")
