"""Starts the calls of a map.

They start together if none of them needs a check of its own, else a few at a time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextvars import Context
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Raw

from .... import errors
from ....protocol.elements import array_length
from ....protocol.messages import Map, Mapped
from ....protocol.server import Session
from ....protocol.values import Buffer, Unpacker
from ....transport.turns import TURN
from ...declare.arguments import read_metadata
from ...methods.table import ServedMethod
from ..memory import memory_of_data
from .session import IncomingMap
from .slices import SlicedMap
from .together import STEP, Together

if TYPE_CHECKING:
    from ..dispatcher import Dispatcher

_decode_list = msgspec.msgpack.Decoder(list[Raw]).decode


class Maps:
    """The maps of one dispatcher.

    - `most`: maximum calls in one map.
    - `full` returns why a client may not make more calls now, or "".
    - `passed` returns the calls of a session that access rules and rates allow. None without these.
    - `max_size`: maximum bytes of a call's decoded arguments.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        most: int,
        full: Callable[[Session], str],
        passed: Callable[[Session, Sequence[Any]], list[Any]] | None,
        max_size: int,
    ) -> None:
        self._dispatcher = dispatcher
        self._host = dispatcher.active
        self._most = most
        self._full = full
        self._passed = passed
        self._seconds: dict[str, float] = {}  # that a call last took, by method run in slices
        self._values = Unpacker(wary=True)
        self._values.limit = max_size

    def begin(self, session: Session, message: Map, frames: Sequence[Buffer]) -> None:
        """Start the calls of a Map that a session's machine has accepted."""
        host, now = self._host, time.monotonic()
        try:
            count = array_length(bytes(message.args)[:5], 0)
            if count > self._most:
                raise errors.InvalidArgument(
                    f"{message.method}: a map of {count:,} calls exceeds the limit of "
                    f"{self._most:,}"
                )
            served = self._dispatcher.methods.get(message.method)
            rows: list[Any] | None = None
            arguments: Sequence[Raw] = ()
            if served is not None and count and not frames and self._passed is None:
                rows = self._rows(served, message)
            if rows is None:
                arguments = _decode_list(message.args)
        except errors.CallError as error:
            self._dispatcher.refusals.refuse(session, message, error)
            return
        except Exception as error:
            text = f"{message.method}: the arguments cannot be read: {errors.described(error)}"
            self._dispatcher.refusals.refuse(session, message, errors.InvalidArgument(text))
            return
        if not count:
            session.outbox.append(Mapped(message.id, 0, message.args))
            host.tell(session)
            return
        memory = memory_of_data(message.args, host.free)
        full = host.in_flight.admit_bytes(session.quota, memory)
        if full:
            self._dispatcher.refusals.refuse(session, message, errors.ResourceExhausted(full))
            return
        host.in_flight.maps += 1
        incoming = IncomingMap(session, message, count, now, host)
        incoming.own.when_over = partial(self._release, session, memory)
        session.calls[message.id] = incoming
        if served is None or rows is None:
            self._step(incoming, iter(arguments), frames)
        elif served.queue is None:
            self._run(Together(host, self._dispatcher.refusals, incoming, served, rows, self._full))
        else:
            name = message.method
            sliced = SlicedMap(
                host, incoming, served, rows, partial(self._seconds.__setitem__, name)
            )
            sliced.begin(self._seconds.get(name, 0.0))
            host.tell(session)

    def _rows(self, served: ServedMethod, message: Map) -> list[tuple[Any, ...]] | None:
        """The arguments of all calls of a map, if the calls need no separate checks. Else None."""
        options, decode = message.options, served.method.arguments.short_list
        if (
            decode is None
            or self._dispatcher.intercepts
            or not (served.immediate or (served.in_a_row and not self._host.observer.traces))
        ):
            return None
        if options is not None and options.versions is not None:
            return None
        try:
            rows = decode(message.args)
            if options is not None:
                read_metadata(served.method.name, options)
        except BaseException:  # starting each call singly reports the error
            return None
        return rows

    def _release(self, session: Session, memory: int) -> None:
        """Release what a map holds, at its end."""
        self._host.in_flight.maps -= 1
        self._host.in_flight.release_bytes(session.quota, memory)
        if not self._host.serving:
            self._host.tell(session)  # the drain may have waited for this map alone

    def _run(self, together: Together) -> None:
        """Run calls of an inline method for one turn of the loop.

        The calls share a context until one sets a variable in it.
        """
        end = time.monotonic() + TURN
        while not together.incoming.ended:
            context = Context()
            if context.run(together.run, context, end):
                return
            if time.monotonic() >= end:
                self._host.loop.call_after_poll(partial(self._run, together))
                return

    def _step(
        self, incoming: IncomingMap, arguments: Iterator[Raw], frames: Sequence[Buffer]
    ) -> None:
        """Start the next calls, as long as there is time and room."""
        host, own = self._host, incoming.own
        served = self._dispatcher.methods.get(incoming.message.method)
        counted = served is not None and not served.method.inline
        end = time.monotonic() + TURN
        self._values.begin(frames)
        while not incoming.ended:
            room = STEP
            if counted:
                room = min(STEP, host.in_flight.room_for_calls(own.quota))
                if room <= 0 and own.calls:
                    own.go_on = partial(self._step, incoming, arguments, frames)
                    return
                room = room if room > 0 else STEP  # no room at all: they are refused
            some = list(islice(arguments, room))
            if not some:
                return
            calls = [incoming.call(place, args) for place, args in enumerate(some, incoming.place)]
            incoming.place += len(some)
            why = self._refusal(incoming)
            if why is None:
                self._dispatcher.dispatch(
                    own, calls if self._passed is None else self._passed(own, calls), self._values
                )
            else:
                for call in calls:
                    self._dispatcher.refusals.refuse(own, call, why)
            host.tell(own)
            if time.monotonic() >= end and not incoming.ended:
                host.loop.call_after_poll(partial(self._step, incoming, arguments, frames))
                return

    def _refusal(self, incoming: IncomingMap) -> errors.CallError | None:
        """The error that keeps the next calls from starting, if any."""
        if incoming.is_late():
            return errors.DeadlineExceeded(
                f"{incoming.message.method}: its deadline passed before it started"
            )
        full = self._full(incoming.session)
        return errors.ResourceExhausted(full) if full else None
