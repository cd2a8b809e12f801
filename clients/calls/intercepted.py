"""Runs a client's interceptors around each of its calls."""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import copy_context
from functools import partial
from typing import Any

from ... import errors
from ...interceptors import Interception, Interceptor
from ...protocol.values import size_of_arguments
from ..connections.core import ClientCore
from ..conversation.calls import OutgoingCall
from ..options import ClientOptions
from .traced import traced


class ClientCall:
    """A call as the client's interceptors see it.
    They may change `metadata` before the yield; it travels with the call."""

    __slots__ = ("args", "kwargs", "metadata", "method", "timeout")

    def __init__(
        self,
        method: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        timeout: float | None,
        metadata: dict[str, Any],
    ) -> None:
        self.method = method
        self.args = args
        self.kwargs = kwargs
        self.timeout = timeout
        self.metadata = metadata


def enter(
    core: ClientCore,
    interceptors: Sequence[Interceptor],
    options: ClientOptions,
    call: OutgoingCall,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> bool:
    """Run the interceptors before a call, and route its outcome through them.
    False if one has ended the call."""
    seen = ClientCall(call.method, args, kwargs, options.timeout, dict(options.metadata))
    interception, context = Interception(), copy_context()
    goes_on: bool
    goes_on, result, error = core.loop.outside(context.run, interception.enter, interceptors, seen)
    if goes_on:
        try:
            if seen.metadata != options.metadata:
                merged = options.merged({"metadata": seen.metadata})
                taken = size_of_arguments(call.message.args, call.message.kwargs)
                if taken > merged.room:
                    raise errors.ResourceExhausted(
                        f"{call.method}: {taken:,} bytes of arguments are too large beside the "
                        f"metadata"
                    )
                call.message.options = merged.options
                if call.extras is not None and call.extras.span is not None:
                    call.message.options = traced(merged.options, call.extras.span)
        except BaseException as unsendable:  # for example, a metadata value that cannot be sent
            goes_on = False
            result, error = core.loop.outside(context.run, interception.leave, None, unsendable)
    if goes_on:
        call.extended().passes = partial(core.loop.outside, context.run, interception.leave)
    else:
        call.conclude(result, error, core.machine.table.recorder)
    return goes_on
