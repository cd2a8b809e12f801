"""Many calls of one method in one message: a session of their own, in which each is dispatched as a call that came by itself.

What comes of them gathers in the outbox of that session, and goes to the client in few messages. Calls of an inline method run in one
loop, with their arguments decoded together, as long as nothing about them needs to be looked at singly.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextvars import Context
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Raw, structs

from ... import errors
from ...backends.base import Handle
from ...handling import batch, handling
from ...protocol.bounds import BATCH_BYTES
from ...protocol.elements import array_length
from ...protocol.messages import Call, Error, Failure, FromServer, Map, Mapped, Reached, Refusal, Reply
from ...protocol.server import IncomingCall, Session, SessionState
from ...protocol.values import NOTHING, Buffer, Unpacker, pack, pack_together, size
from ...runtime import forks
from ...transport.turns import TURN
from .invocation import VALUES, InlineBatch
from .memory import ELEMENT

if TYPE_CHECKING:
    from ..methods.table import ServedMethod
    from .dispatcher import Dispatcher

# Bytes of results that are kept before those that there are go to the client.
ANSWER_BYTES = BATCH_BYTES // 2

# Seconds after which results go to the client, while other calls of their map go on.
SOON = 0.02

# Calls between two looks at the clock.
STEP = 32

_decode_list = msgspec.msgpack.Decoder(list[Raw]).decode


class IncomingMap(IncomingCall):
    """The calls of one Map, as one call of its session: `left` of them have not ended."""

    __slots__ = ("deadline", "left", "message", "own", "place")

    def __init__(self, session: Session, message: Map, count: int, now: float, host: Dispatcher) -> None:
        super().__init__(session, message.id)
        self.message = message
        self.left = count
        self.place = 0  # of the next call that begins
        self.deadline = None if message.timeout is None else now + message.timeout / 1000
        self.own = MapSession(self, host)

    @property
    def parts(self) -> Iterable[IncomingCall]:
        return self.own.calls.values()

    def call(self, place: int, args: Raw) -> Call:
        """The call at that place, as if it had come by itself."""
        message = self.message
        timeout = None if self.deadline is None else max(1, int((self.deadline - time.monotonic()) * 1000))
        options = message.options
        if options is not None:
            key = None if options.key is None else f"{options.key}-{message.first + place}"
            options = structs.replace(options, key=key)
        return Call(place, message.method, args, None, timeout, 0, options)

    def is_late(self) -> bool:
        """Whether its time is over."""
        return self.deadline is not None and self.deadline <= time.monotonic()

    def cancel(self) -> None:
        self._drop(lambda call: call.cancel())

    def abandon(self) -> None:
        self._drop(lambda call: call.abandon())

    def _drop(self, drop: Callable[[IncomingCall], object]) -> None:
        self.ended = True
        calls, self.own.calls = self.own.calls, {}
        for call in calls.values():
            call.ended = True
            drop(call)
        self.own.over()

    def credit(self, items: int) -> None:
        """It is no stream."""

    def item(self, value: Raw) -> None:  # noqa: ARG002
        raise errors.ProtocolError("an item for a map, which takes none")

    def fail(self, error: errors.CallError) -> None:
        if not self.ended:
            self.session.reply(self, Error(self.id, *errors.to_wire(error)))
            self.cancel()

    def end_input(self) -> None:
        """It has none."""


class MapSession(Session):
    """The client of a Map as its calls see it. Their ids are their places in the Map; their answers gather here."""

    __slots__ = ("failures", "go_on", "host", "kept", "map", "results", "seen", "timer", "when_over")

    def __init__(self, incoming: IncomingMap, host: Dispatcher) -> None:
        owner = incoming.session
        super().__init__(owner.connection, owner.peer)
        self.user, self.key, self.quota = owner.user, owner.key, owner.quota
        self.state = SessionState.OPEN
        self.instance, self.max_size = owner.instance, owner.max_size
        self.map = incoming
        self.host = host
        self.timer: Handle | None = None
        self.seen: dict[str, int] = {}  # versions that results have seen, by service
        self.results: dict[int, Any] = {}
        self.failures: dict[int, Failure] = {}
        self.kept = 0  # bytes of results
        self.when_over: Callable[[], object] | None = None
        self.go_on: Callable[[], object] | None = None  # where its next calls wait for one of it to end

    @property
    def client(self) -> object:
        return self.map.session.client

    def over(self) -> None:
        """Nothing more of the Map is to be answered."""
        self.results, self.failures, self.outbox = {}, {}, []
        if self.timer is not None:
            self.timer.cancel()
        when_over, self.when_over = self.when_over, None
        if when_over is not None:
            when_over()

    def gather(self) -> None:
        """Take the answers that have come, and send them on where they are many, or the last."""
        incoming = self.map
        answers, self.outbox = self.outbox, []
        if incoming.ended:
            return
        for message in answers:
            self._take(message)
        if self.kept > ANSWER_BYTES or not incoming.left:
            self._send()
        if not incoming.left:
            self._end()
        elif self.timer is None and (self.results or self.failures):
            self.timer = self.host.loop.call_later(SOON, self._send_soon)

    def gathered(self) -> Session:
        """The client's own session, which may have something to be sent now."""
        self.gather()
        if self.go_on is not None:
            go_on, self.go_on = self.go_on, None
            self.host.loop.call_after_poll(go_on)
        return self.map.session

    def _send(self) -> None:
        outbox = self.map.session.outbox
        if self.seen:
            outbox.append(Reached(self.map.id, self.seen))
            self.seen = {}
        outbox += self._mapped()

    def _send_soon(self) -> None:
        self.timer = None
        if not self.map.ended and (self.results or self.failures):
            self._send()
            self.host.tell(self.map.session)

    def put(self, place: int, result: Any) -> None:
        """A result that is packed."""
        self.results[place] = result
        self.kept += size(result)

    def end_with(self, results: Raw) -> None:
        """All of them at once; only those that failed have been put here."""
        self.map.session.outbox.append(Mapped(self.map.id, 0, results, self.failures or None))
        self._end()

    def _end(self) -> None:
        incoming = self.map
        incoming.ended = True
        incoming.session.calls.pop(incoming.id, None)
        self.over()

    def _take(self, message: FromServer) -> None:
        match message:
            case Reply(id=place, result=result):
                self.put(place, result)
                self.map.left -= 1
            case Error(id=place, code=code, kind=kind, message=text):
                self._fail(place, Failure(code, text, kind))
            case Refusal(id=place, code=code, message=text, started=started):
                self._fail(place, Failure(code, text, None, started))
            case Reached(versions=versions):
                for service, version in versions.items():
                    self.seen[service] = max(version, self.seen.get(service, 0))

    def _fail(self, place: int, failure: Failure) -> None:
        self.failures[place] = failure
        self.kept += len(failure.message)
        self.map.left -= 1

    def _mapped(self) -> list[Mapped]:
        """All that is kept, in few messages."""
        results, self.results = self.results, {}
        failures, self.failures = self.failures, {}
        self.kept = 0
        messages: list[Mapped] = []
        first, taken = 0, 0  # of the message that is being made
        values: list[Any] = []
        failed: dict[int, Failure] = {}
        for place in sorted([*results, *failures]):
            if values and (place != first + len(values) or taken > ANSWER_BYTES):
                messages.append(Mapped(self.map.id, first, values, failed or None))  # type: ignore[arg-type]
                values = []
            if not values:
                first, values, failed, taken = place, [], {}, 0
            values.append(results.get(place))
            taken += size(values[-1])
            if place in failures:
                failed[place] = failures[place]
        if values:
            messages.append(Mapped(self.map.id, first, values, failed or None))  # type: ignore[arg-type] # of what is packed
        return messages


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
            arguments = _decode_list(message.args)
        except errors.CallError as error:
            host.reject(session, message, error)
            return
        except Exception as error:
            text = f"{message.method}: the arguments cannot be read: {errors.described(error)}"
            host.reject(session, message, errors.InvalidArgument(text))
            return
        memory = len(message.args) + ELEMENT * count
        full = host.hold(session, memory)
        if full:
            host.reject(session, message, errors.ResourceExhausted(full))
            return
        incoming = IncomingMap(session, message, len(arguments), now, host)
        incoming.own.when_over = partial(host.release, session, memory)
        session.calls[message.id] = incoming
        served = host.methods.get(message.method)
        rows = None if served is None or frames or self._passed is not None else host.rows(served, message)
        if served is not None and rows is not None:
            self._run(Together(host, incoming, served, rows, now))
        else:
            self._step(incoming, iter(arguments), frames)

    def _run(self, together: Together) -> None:
        """Run the calls of an inline method, as many as there is time for, each context for as long as nothing is set in it."""
        end = time.monotonic() + TURN
        while not together.incoming.ended:
            context = Context()
            if context.run(together.run, context, end):
                together.finish()
                self._host.tell(together.incoming.own)
                return
            if time.monotonic() >= end:
                self._host.loop.call_after_poll(partial(self._run, together))
                return

    def _step(self, incoming: IncomingMap, arguments: Iterator[Raw], frames: Sequence[Buffer]) -> None:
        """Begin the next calls, as many as there is time and room for."""
        host, own = self._host, incoming.own
        end = time.monotonic() + TURN
        self._values.begin(frames)
        while not incoming.ended:
            room = STEP
            if own.calls:
                room = min(STEP, host.room_for_calls(own))
                if room <= 0:
                    own.go_on = partial(self._step, incoming, arguments, frames)
                    return
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


class Together:
    """The calls of an inline method, one after the other in one loop."""

    __slots__ = ("host", "incoming", "now", "odd", "results", "rows", "served")

    def __init__(
        self, host: Dispatcher, incoming: IncomingMap, served: ServedMethod, rows: list[Any], now: float
    ) -> None:
        self.host = host
        self.incoming = incoming
        self.served = served
        self.rows = iter(rows)
        self.now = now
        self.results: list[Any] = []
        self.odd: set[int] = set()  # the places of those that are no plain results

    def run(self, context: Context, end: float) -> bool:
        """In that context: run calls until that time, or until one has set something there. True once all have run."""
        host, served, results, incoming = self.host, self.served, self.results, self.incoming
        function, generation, ends = served.method.function, forks.generation, served.ends
        batch.set(InlineBatch(incoming.own, self.now, host))
        handling.set(incoming.message)
        for args in self.rows:
            try:
                result = function(*args)
            except BaseException as error:
                host.came_back(served.method.name, error)
                self._odd(None, error)
            else:
                if generation != forks.generation:
                    host.came_back(served.method.name)
                results.append(result)
                if ends is not None:
                    ends.append(time.monotonic())
            if len(context) > 2:
                return False
            if not len(results) % STEP:
                if incoming.is_late():
                    break
                if time.monotonic() >= end:
                    return False
        for _ in self.rows:  # for which there was no time
            text = f"{served.method.name}: its time was over before it began"
            self._fail(errors.DeadlineExceeded(text))
        return True

    def finish(self) -> None:
        """All have run: hand over what came of them."""
        host, served, results, incoming = self.host, self.served, self.results, self.incoming
        if not VALUES.issuperset(map(type, results)):
            for place, result in enumerate(results):
                if type(result) not in VALUES and place not in self.odd:
                    results[place] = None
                    self._odd_at(place, result, None)
        ran = len(results) - len(self.odd)
        served.statistics.calls += ran
        served.statistics.took(time.monotonic() - self.now)
        if served.ends:
            host.ran_at_once(served, self.now)
        own = incoming.own
        own.gather()  # what became of the odd ones
        if incoming.left == ran and not own.results:
            packed = pack_together(results, min(ANSWER_BYTES, own.max_size))
            if packed is not None and not incoming.ended:
                own.end_with(packed)
        for place, result in enumerate(() if incoming.ended else results):
            if place not in self.odd:
                try:
                    own.put(place, pack(result, own.max_size))
                except BaseException:
                    self._odd_at(place, result, None)
                else:
                    incoming.left -= 1

    def _odd(self, result: Any, error: BaseException | None) -> None:
        self.results.append(None)
        self._odd_at(len(self.results) - 1, result, error)

    def _odd_at(self, place: int, result: Any, error: BaseException | None) -> None:
        """What a call has raised, or returned that is no plain value: the long way, as of any call."""
        self.odd.add(place)
        incoming = self.incoming
        call = incoming.call(place, NOTHING)
        self.host.finish_inline(incoming.own, call, self.served, result, error, self.now)

    def _fail(self, error: errors.CallError) -> None:
        self.results.append(None)
        place = len(self.results) - 1
        self.odd.add(place)
        self.host.reject(self.incoming.own, self.incoming.call(place, NOTHING), error)
