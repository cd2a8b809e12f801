"""Runs a client's callbacks: of fired calls and of listeners.
An exception in one affects nothing else."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from contextvars import Context, copy_context
from typing import Any, TypeVar

from ...logs.errorlog import log_error
from ...runtime import forks
from ..conversation.calls import OutgoingCall

log = logging.getLogger("ringback.client")

T = TypeVar("T")

# A call or the name of its method, the function to call, and its argument.
Entry = tuple[OutgoingCall | str, Callable[[Any], object], Any]


class Event:
    """The outcome of a fired call, for a listener: `method`, and either `result` or `error`."""

    __slots__ = ("error", "method", "result")

    def __init__(self, method: str, result: Any, error: BaseException | None) -> None:
        self.method = method
        self.result = result
        self.error = error

    def __repr__(self) -> str:
        outcome = f"error={self.error!r}" if self.error is not None else f"result={self.result!r}"
        return f"Event(method={self.method!r}, {outcome})"


def subscribe(entries: dict[object, T], entry: T) -> Callable[[], None]:
    """Add an entry. Returns the function that removes exactly this entry."""
    key = object()
    entries[key] = entry

    def unsubscribe() -> None:
        entries.pop(key, None)

    return unsubscribe


def in_context(function: Callable[[Any], object] | None) -> Callable[[Any], object] | None:
    """The function bound to a copy of the present context variables. Call it only once."""
    if function is None:
        return None
    context = copy_context()
    if not len(context):
        return function  # `run_callback` supplies an empty context, so most calls need no closure
    return lambda argument: context.run(_call, function, argument)


def listening(listener: Callable[[Any], object]) -> Callable[[Any], object]:
    """`in_context` for a function that is called often. Raises TypeError if it is not callable."""
    if not callable(listener):
        raise TypeError(f"a listener must be callable, not {listener!r}")
    context = copy_context()
    return lambda argument: context.copy().run(_call, listener, argument)


def run_callback(method: str, function: Callable[[Any], object], argument: Any) -> None:
    """Call a user's callback in its own context. Logs an exception with the method."""
    run_callbacks(((method, function, argument),))


def run_callbacks(entries: Iterable[Entry]) -> None:
    """`run_callback` for each entry, in order."""
    context, generation = Context(), forks.generation
    for call, function, argument in entries:
        try:
            context.run(function, argument)
        except BaseException as error:
            if forks.generation != generation:
                context.run(forks.came_back, "a callback", error)
            method = call if isinstance(call, str) else call.method
            log_error(log, "a callback for %s raised", method, error=error)
        else:
            if forks.generation != generation:
                context.run(forks.came_back, "a callback")
        if context:
            context = Context()  # the next callback must not see variables that this one has set


def _call(function: Callable[[Any], object], argument: Any) -> None:
    """Call a callback in its context.
    A child process that the callback forked does not return from it."""
    generation = forks.generation
    try:
        function(argument)
    except BaseException as error:
        if forks.generation != generation:
            forks.came_back("a callback", error)
        raise
    if forks.generation != generation:
        forks.came_back("a callback")
