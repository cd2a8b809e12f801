"""Carries the trace context of a call in its metadata."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import msgspec
from msgspec import Raw

from ...errors import code_of, text_of
from ...protocol.messages import CallOptions
from ..conversation.calls import Span

_untraced = nullcontext()


def traced(options: CallOptions | None, span: Span) -> CallOptions:
    """The options with the span's trace context, which takes 80 bytes beyond the caller's limit."""
    if options is None:
        options = CallOptions()
    carrier = {name: Raw(msgspec.msgpack.encode(value)) for name, value in span.carrier().items()}
    return msgspec.structs.replace(options, metadata={**options.metadata, **carrier})


def sending(span: Span | None) -> AbstractContextManager[None]:
    """Context manager around sending a one-way call. The span ends with it: no reply follows."""
    return _untraced if span is None else _ending(span)


@contextmanager
def _ending(span: Span) -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        span.end(code_of(error), text_of(error))
        raise
    span.end("OK")
