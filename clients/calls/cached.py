"""Results that a client keeps, for views with `options(cache=...)`: such a call is answered from what is kept, waits for the one that is
under way for the same, or is sent. Everything but `invalidate` and `counts` runs where the core does.
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
    """By all views of one client; those with equal settings share what they keep."""

    def __init__(self) -> None:
        self._entries: dict[Cache, Entries[OutgoingCall]] = {}

    def invalidate(self, tags: tuple[str, ...]) -> None:
        """From any thread."""
        tags = checked_tags(tags)
        for entries in tuple(self._entries.values()):
            entries.invalidate(tags)

    def counts(self) -> dict[str, int]:
        """Of all together, as plain data."""
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
        """Start a call, unless its result is here or on its way."""
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
            except BaseException as error:  # of the user's own function
                entries.give_up(flight)
                flight, failure = None, error
        if flight is not None and value is MISSING:
            _Landing(core, entries, flight).of(call)
            core.start(call)
            return
        core.hold(call)
        # (not now: who fires a call has its future before it is called back)
        if failure is not None:
            core.loop.call_soon(core.end, call, None, failure)
        elif value is not MISSING:
            core.loop.call_soon(core.end, call, *_decoded(value, call))
        if flight is not None:
            _refresh(core, entries, flight, call, now)


class _Landing:
    """What becomes of a call that is sent for all who want the same."""

    def __init__(
        self, core: ClientCore, entries: Entries[OutgoingCall], flight: Flight[OutgoingCall]
    ) -> None:
        self._core = core
        self._entries = entries
        self._flight = flight

    def of(self, call: OutgoingCall) -> None:
        """Its outcome comes here first, and goes on to the interceptors, if there are any, and to its caller."""
        extras = call.extended()
        further = extras.passes

        def passes(result: Any, error: BaseException | None) -> tuple[Any, BaseException | None]:
            extras.passes = None  # which holds the call itself
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
            value = None  # a type of the caller's own, that can be read and not be written
        if value is None:
            self._hand_on(now)
            return
        self._entries.land(flight, value, len(flight.key[1]) + len(value), now)  # type: ignore[index] # of `_key`
        for other in flight.waiting:
            core.machine.end(other, *_decoded(value, other))

    def _hand_on(self, now: float) -> None:
        """There is nothing for the others in it: the next of them is sent."""
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
    """Nobody waits for it."""

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
    """Send the call again, for what it was answered with is stale. (A blocking client sees the answer when it is used next.)"""
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
    """The metadata is part of it: it may say who asks."""
    message = call.message
    arguments = key_of(message.args, message.kwargs)
    metadata = message.options.metadata if message.options is not None else {}
    if call.extras is not None and call.extras.span is not None:  # each call has its own place in a trace
        metadata = {name: value for name, value in metadata.items() if name not in TRACE_CONTEXT}
    try:
        hash(call.settings.returns)
    except TypeError:  # what is annotated in it may have none
        return None
    if arguments is None:
        return None
    return message.method, arguments, msgspec.msgpack.encode(metadata, order="sorted"), call.settings.returns


def _decoded(value: Raw, call: OutgoingCall) -> tuple[Any, BaseException | None]:
    """The outcome, for each caller anew: it may be changed."""
    try:
        return _typed(value, call.settings.returns), None
    except BaseException as error:  # of the caller's own types, too
        return None, unreadable(call.method, call.settings.returns, error)


def _is_own(call: OutgoingCall, error: BaseException, now: float) -> bool:
    """Whether an error comes of this call's having been given up, or of its deadline, which others need not have."""
    return _is_late(call, now) or isinstance(error, (errors.Cancelled, errors.DeadlineExceeded))


def _is_late(call: OutgoingCall, now: float) -> bool:
    return call.deadline is not None and call.deadline <= now
