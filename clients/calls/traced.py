"""The trace context of a call, on its way in the metadata."""

from __future__ import annotations

import msgspec
from msgspec import Raw

from ...protocol.messages import CallOptions
from ..conversation.calls import Span

OK = "OK"


def traced(options: CallOptions | None, span: Span) -> CallOptions:
    """The options with what the server has to know of the span. (It takes 80 bytes, beside what the caller may send.)"""
    if options is None:
        options = CallOptions()
    carrier = {name: Raw(msgspec.msgpack.encode(value)) for name, value in span.carrier().items()}
    return msgspec.structs.replace(options, metadata={**options.metadata, **carrier})
