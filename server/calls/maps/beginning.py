"""How the calls of a map begin: together where nothing about them needs to be looked at singly, else a few at a time."""

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
from ..memory import memory_of_data
from .session import IncomingMap
from .slices import SlicedMap
from .together import STEP, Together

if TYPE_CHECKING:
    from ..dispatcher import Dispatcher

_decode_list = msgspec.msgpack.Decoder(list[Raw]).decode


class Maps:
    """Those of one dispatcher. `passed` says which calls of a session may go on, where there are access rules or rates; `full` why a client
    may make no more calls now, or "". `most`: calls in one."""

    def __init__(
        self,
        host: Dispatcher,
        most: int,
        full: Callable[[Session], str],
        passed: Callable[[Session, Sequence[Any]], list[Any]] | None,
        max_size: int,
    ) -> None:
        self._host = host
        self._most = most
        self._full = full
        self._passed = passed
        self._seconds: dict[str, float] = {}  # that a call of a method took last, of those that run in slices
        self._values = Unpacker(wary=True)
        self._values.limit = max_size

    def begin(self, session: Session, message: Map, frames: Sequence[Buffer]) -> None:
        """Run the calls of a Map that a session's machine has accepted."""
        host, now = self._host, time.monotonic()
        try:
            count = array_length(bytes(message.args)[:5], 0)
            if count > self._most:
                raise errors.InvalidArgument(
                    f"{message.method}: a map of {count:,} calls, and one may have {self._most:,}"
                )
            served = host.methods.get(message.method)
            rows: list[Any] | None = None
            arguments: Sequence[Raw] = ()
            if served is not None and count and not frames and self._passed is None:
                rows = host.rows(served, message)
            if rows is None:
                arguments = _decode_list(message.args)
        except errors.CallError as error:
            host.reject(session, message, error)
            return
        except Exception as error:
            text = f"{message.method}: the arguments cannot be read: {errors.described(error)}"
            host.reject(session, message, errors.InvalidArgument(text))
            return
        if not count:
            session.outbox.append(Mapped(message.id, 0, message.args))
            host.tell(session)
            return
        memory = memory_of_data(message.args, host.free)
        full = host.hold_map(session, memory)
        if full:
            host.reject(session, message, errors.ResourceExhausted(full))
            return
        incoming = IncomingMap(session, message, count, now, host)
        incoming.own.when_over = partial(host.release_map, session, memory)
        session.calls[message.id] = incoming
        if served is None or rows is None:
            self._step(incoming, iter(arguments), frames)
        elif served.queue is None:
            self._run(Together(host, incoming, served, rows, self._full))
        else:
            name = message.method
            sliced = SlicedMap(host, incoming, served, rows, partial(self._seconds.__setitem__, name))
            sliced.begin(self._seconds.get(name, 0.0))
            host.tell(session)

    def _run(self, together: Together) -> None:
        """Run the calls of an inline method, as many as there is time for, each context for as long as nothing is set in it."""
        end = time.monotonic() + TURN
        while not together.incoming.ended:
            context = Context()
            if context.run(together.run, context, end):
                return
            if time.monotonic() >= end:
                self._host.loop.call_after_poll(partial(self._run, together))
                return

    def _step(self, incoming: IncomingMap, arguments: Iterator[Raw], frames: Sequence[Buffer]) -> None:
        """Begin the next calls, as many as there is time and room for."""
        host, own = self._host, incoming.own
        served = host.methods.get(incoming.message.method)
        counted = served is not None and not served.method.inline
        end = time.monotonic() + TURN
        self._values.begin(frames)
        while not incoming.ended:
            room = STEP
            if counted:
                room = min(STEP, host.room_for_calls(own))
                if room <= 0 and own.calls:
                    own.go_on = partial(self._step, incoming, arguments, frames)
                    return
                room = room if room > 0 else STEP  # others have it all: they are refused
            some = list(islice(arguments, room))
            if not some:
                return
            calls = [incoming.call(place, args) for place, args in enumerate(some, incoming.place)]
            incoming.place += len(some)
            why = self._refusal(incoming)
            if why is None:
                host.dispatch(own, calls if self._passed is None else self._passed(own, calls), self._values)
            else:
                for call in calls:
                    host.reject(own, call, why)
            host.tell(own)
            if time.monotonic() >= end and not incoming.ended:
                host.loop.call_after_poll(partial(self._step, incoming, arguments, frames))
                return

    def _refusal(self, incoming: IncomingMap) -> errors.CallError | None:
        """Why its next calls do not begin."""
        if incoming.is_late():
            return errors.DeadlineExceeded(f"{incoming.message.method}: its time was over before it began")
        full = self._full(incoming.session)
        return errors.ResourceExhausted(full) if full else None
