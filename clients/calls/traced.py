"""The trace context of a call, on its way in the metadata."""

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
    """The options with what the server has to know of the span. (It takes 80 bytes, beside what the caller may send.)"""
    if options is None:
        options = CallOptions()
    carrier = {name: Raw(msgspec.msgpack.encode(value)) for name, value in span.carrier().items()}
    return msgspec.structs.replace(options, metadata={**options.metadata, **carrier})


def sending(span: Span | None) -> AbstractContextManager[None]:
    """Around the sending of a one-way call, which has ended then, as far as its caller will ever know."""
    return _untraced if span is None else _ending(span)


@contextmanager
def _ending(span: Span) -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        span.end(code_of(error), text_of(error))
        raise
    span.end("OK")
