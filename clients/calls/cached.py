"""The client's result cache, for views with `options(cache=...)`.

Such a call gets a cached result, waits for an equal call in flight, or is sent. All but
`invalidate` and `counts` runs where the core runs.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Raw

from ... import errors
from ...protocol.messages import Call
from ...protocol.values import Unpacker, key_of, pack, whole
from ...state.cache import MISSING, Cache, Entries, Flight, checked_tags
from ...tracing import TRACE_CONTEXT
from ..connections.core import ClientCore
from ..conversation.calls import OutgoingCall
from ..conversation.unreadable import unreadable

_typed = Unpacker().typed

_UNBOUNDED = 1 << 62


class ResultCache:
    """The cached results of all views of one client; views with equal settings share them."""

    def __init__(self) -> None:
        self._entries: dict[Cache, Entries[OutgoingCall]] = {}

    def invalidate(self, tags: tuple[str, ...]) -> None:
        """Drop the results with these tags, or all without tags. Any thread may call this."""
        tags = checked_tags(tags)
        for entries in tuple(self._entries.values()):
            entries.invalidate(tags)

    def counts(self) -> dict[str, int]:
        """Statistics of all settings together, as plain data."""
        total = Counter(Entries[Any](Cache(1)).counts())
        for entries in tuple(self._entries.values()):
            total.update(entries.counts())
        return dict(total)

    def start(
        self,
        core: ClientCore,
        cache: Cache,
        call: OutgoingCall,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
    ) -> None:
        """Start a call, unless its result is cached or on its way."""
        now = time.monotonic()
        entries = self._entries.get(cache)
        if entries is None:
            entries = self._entries[cache] = Entries(cache)
        key = _key(call)
        if key is None:
            core.start(call)
            return
        value, flight = entries.ask(key, call, now)
        failure: BaseException | None = None
        if flight is not None:
            try:
                flight.tags = cache.tags_of(call.method, args, kwargs)
            except BaseException as error:  # from the user's tag function
                entries.give_up(flight)
                flight, failure = None, error
        if flight is not None and value is MISSING:
            _Landing(core, entries, flight).of(call)
            core.start(call)
            return
        core.hold(call)
        # (not now: a caller of `fire` gets its future before its callback runs)
        if failure is not None:
            core.loop.call_soon(core.end, call, None, failure)
        elif value is not MISSING:
            core.loop.call_soon(core.end, call, *_decoded(value, call))
        if flight is not None:
            _refresh(core, entries, flight, call, now)


class _Landing:
    """Handles the outcome of a call that was sent for all callers of the same."""

    def __init__(
        self, core: ClientCore, entries: Entries[OutgoingCall], flight: Flight[OutgoingCall]
    ) -> None:
        self._core = core
        self._entries = entries
        self._flight = flight

    def of(self, call: OutgoingCall) -> None:
        """Route the call's outcome through here, before the interceptors and the caller get it."""
        extras = call.extended()
        further = extras.passes

        def passes(result: Any, error: BaseException | None) -> tuple[Any, BaseException | None]:
            extras.passes = None  # it holds a reference to the call
            self._landed(call, result, error)
            return (result, error) if further is None else further(result, error)

        extras.passes = passes

    def _landed(self, call: OutgoingCall, result: Any, error: BaseException | None) -> None:
        core, flight, now = self._core, self._flight, time.monotonic()
        if error is not None and not _is_own(call, error, now):
            self._entries.give_up(flight)
            for other in flight.waiting:
                core.machine.end(other, None, error)
            return
        try:
            value = None if error is not None else Raw(whole(pack(result, _UNBOUNDED)))
        except BaseException:
            value = None  # a type of the caller that can be decoded but not encoded
        if value is None:
            self._hand_on(now)
            return
        self._entries.land(flight, value, len(flight.key[1]) + len(value), now)  # type: ignore[index] # of `_key`
        for other in flight.waiting:
            core.machine.end(other, *_decoded(value, other))

    def _hand_on(self, now: float) -> None:
        """Send the next waiting call: the others cannot use this outcome."""
        waiting = self._flight.waiting
        while waiting and not self._core.closed:
            call = next(iter(waiting))
            del waiting[call]
            if not (call.ended or _is_late(call, now)):
                self.of(call)
                self._core.do(self._core.machine.send, call, now)
                return
        self._entries.give_up(self._flight)


class _Refresh(OutgoingCall):
    """A call that renews a stale result; no caller waits for it."""

    __slots__ = ()
    is_counted = False

    def finish(self, result: Any, error: BaseException | None) -> None:
        pass


def _refresh(
    core: ClientCore,
    entries: Entries[OutgoingCall],
    flight: Flight[OutgoingCall],
    call: OutgoingCall,
    now: float,
) -> None:
    """Send the call again, as its cached result is stale.
    A blocking client reads the reply at its next use."""
    if core.full:
        entries.give_up(flight)
        return
    old, settings = call.message, call.settings
    again = _Refresh(Call(0, old.method, old.args, old.kwargs, options=old.options), settings)
    again.deadline = None if settings.timeout is None else now + settings.timeout
    if call.size:
        again.extended().size = call.size
    again.sent = again.made = now
    _Landing(core, entries, flight).of(again)
    core.start(again)


def _key(call: OutgoingCall) -> tuple[Any, ...] | None:
    """The cache key, or None if the call cannot be cached.
    It holds the metadata, which may identify the caller."""
    message = call.message
    arguments = key_of(message.args, message.kwargs)
    metadata = message.options.metadata if message.options is not None else {}
    # the trace context differs for each call
    if call.extras is not None and call.extras.span is not None:
        metadata = {name: value for name, value in metadata.items() if name not in TRACE_CONTEXT}
    try:
        hash(call.settings.returns)
    except TypeError:  # metadata in an annotation may be unhashable
        return None
    if arguments is None:
        return None
    return (
        message.method,
        arguments,
        msgspec.msgpack.encode(metadata, order="sorted"),
        call.settings.returns,
    )


def _decoded(value: Raw, call: OutgoingCall) -> tuple[Any, BaseException | None]:
    """The outcome, decoded anew for each caller, which may change it."""
    try:
        return _typed(value, call.settings.returns), None
    except BaseException as error:  # the caller's own types may raise anything
        return None, unreadable(call.method, call.settings.returns, error)


def _is_own(call: OutgoingCall, error: BaseException, now: float) -> bool:
    """Whether an error comes from this call's own cancellation or deadline."""
    return _is_late(call, now) or isinstance(error, (errors.Cancelled, errors.DeadlineExceeded))


def _is_late(call: OutgoingCall, now: float) -> bool:
    return call.deadline is not None and call.deadline <= now
