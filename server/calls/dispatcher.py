"""Runs calls: finds the method, checks the arguments, runs the handler where its kind belongs, and answers.

Knows the loop only by its interface and the wire only by its messages. What worker threads and other loops report is
gathered and dealt with in one turn of the serving loop.
"""

from __future__ import annotations

import logging
import os
import time
from asyncio import CancelledError
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import Context, copy_context
from itertools import chain
from typing import TYPE_CHECKING, Any

from msgspec import Raw

from ... import errors
from ...backends.base import Handle, Loop
from ...handling import batch, handled, handling
from ...interceptors import Interception
from ...logs.bounded import Bounded
from ...metrics.recorder import CallRecorder
from ...metrics.snapshot import ServerSnapshot
from ...protocol.bounds import FRAME_BYTES
from ...protocol.collisions import FEW_BYTES
from ...protocol.messages import (
    Call,
    CallOptions,
    Credit,
    End,
    Error,
    Failure,
    Item,
    Map,
    MethodFlags,
    Notify,
    Refusal,
    Reply,
)
from ...protocol.server import Phase, ServerMachine, Session
from ...protocol.values import Unpacker, pack
from ...runtime import forks
from ...state.store import State
from ...terminal import printable
from ..declare.arguments import NO_NAMES, read_metadata
from ..declare.service import RESERVED, Method, Service, reserved
from ..methods.once import KeyedRun, Once
from ..methods.statistics import MethodStatistics
from ..methods.table import MethodTable, ServedMethod
from ..options import SchedulingOptions
from ..process.logs import shortened
from .batches import BatchedCall, WorkerBatch
from .cached import cached
from .deadlines import Deadlines
from .inputs import Input, with_inputs
from .invocation import VALUES, InlineBatch, Invocation
from .launcher import Launcher
from .memory import ELEMENT, encoded, memory_of, memory_of_options, size_of
from .observer import CallObserver
from .posted import Posted
from .stream_turns import StreamTurns
from .streams import StreamInvocation
from .versions import ServiceVersions
from .watch import WorkerWatch

if TYPE_CHECKING:
    from concurrent.futures import Future

    from ...tracing.spans import Tracing

log = logging.getLogger("ringback.server")

_SERVING = Phase.SERVING  # looked up once (see protocol/server.py)

# Seconds for which a call waits for a replica, at most: then another server is the better answer.
PATIENCE = 0.5

# Abandoned calls that one turn of the loop cancels.
_CANCELLED_PER_TURN = 64


# Calls that came together, each with its arguments, by method and timeout in milliseconds.
CallsTogether = dict[tuple[str, int | None], list[tuple[Call, tuple[Any, ...]]]]


class Dispatcher:
    """All calls of one server, from acceptance to answer: their `CallHost`."""

    def __init__(
        self,
        service: Service,
        loop: Loop,
        machine: ServerMachine,
        answered: Callable[[Session], object],
        scheduling: SchedulingOptions,
        state: State | None = None,
        visible: Callable[[Session], Mapping[str, MethodFlags] | None] | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        self.loop = loop
        self.app: Any = None
        self.state = state
        self._machine = machine
        self._in_flight = machine.in_flight
        self._name = service.name
        self._began = time.monotonic()
        self._interceptors = service.interceptors
        self._answered = answered  # told of every session that has something to be sent
        self._versions = ServiceVersions(service.name, state)
        self._table = MethodTable(service, loop, scheduling, state, replica=self._versions.of_replica)
        self.launcher = Launcher(self._table, loop, self._in_flight, self.refuse)
        methods = [*service.methods.values(), reserved("ringback.stats", self.stats)]
        if visible is not None:
            methods.append(reserved("ringback.describe", self._described(service, visible)))
        self.methods = {method.name: self._table.serve(method) for method in methods}
        self._deadlines: Deadlines[Invocation] = Deadlines(lambda call: not call.ended)
        self._stream_turns: dict[str, StreamTurns[StreamInvocation]] = {}  # by the place where generators run
        self._now = 0.0  # when calls ended that do so in this turn; 0 where none has yet
        self._abandoned: deque[Invocation] = deque()
        self._timer: Handle | None = None
        self._timer_due = 0.0
        self._observer = CallObserver(self.methods, machine, tracing)
        self._dropped = Bounded(log)
        self._raised = Bounded(log, 100)  # more: each is a fault of the service's own
        self._posted = Posted(loop, self._raised, self._turn_begins, self._turn_ended)
        self.post = self._posted.post
        self.watch = WorkerWatch(loop, self.post)
        for served in self.methods.values():
            if not self._observer.traces:
                self._table.batch(served)
        self._generation = forks.generation

    def observe(self, recorder: CallRecorder) -> None:
        """Record how each call ends from now on."""
        self._observer.record(recorder)

    def report(self, snapshot: ServerSnapshot) -> None:
        """What there is at the moment, from any thread."""
        self._table.report(snapshot)
        snapshot.clients = len(self._machine.sessions)
        flying = self._observer.in_flight()
        snapshot.in_flight = {name: flying[name] for name in self.methods if not name.startswith(RESERVED)}
        for name, served in self.methods.items():
            if served.cached is not None:
                snapshot.cache[name] = served.cached.outcomes()

    def dispatch(self, session: Session, messages: Iterable[Call | Notify], values: Unpacker) -> None:
        """Begin the calls that a session's machine has accepted."""
        values.streamed = False
        values.taken = 0
        rest = iter(messages)
        undone: Call | Notify | None = None
        while True:
            context = Context()
            those = rest if undone is None else chain((undone,), rest)
            undone = context.run(self._dispatch, context, session, those, values)
            if undone is None:
                return

    def _dispatch(
        self, context: Context, session: Session, messages: Iterable[Call | Notify], values: Unpacker
    ) -> Call | Notify | None:
        """In that context, which is empty at first. As soon as anything else is set there, the next message is returned: it must not see
        that."""
        now = time.monotonic()
        methods, interceptors, limit = self.methods, self._interceptors, session.max_size
        inline: MethodStatistics | None = None
        timed: list[ServedMethod] = []  # whose calls that ran at once are to be recorded
        undone: Call | Notify | None = None
        batch.set(InlineBatch(session, now, self))
        handling.set(None)
        few = 0 if values.frames else FEW_BYTES  # bytes of arguments that are decoded in short
        together: CallsTogether = {}
        for message in messages:
            if len(context) > 2:
                undone = message
                break
            served = methods.get(message.method)
            if served is None:
                text = f"there is no method {shortened(message.method)!r}"
                self._reject(session, message, errors.MethodNotFound(text))
                continue
            method = served.method
            args, kwargs = None, NO_NAMES
            short, options = served.short, message.options
            if options is None and short is not None and len(message.args) < few and message.kwargs is None:
                try:
                    args = short(message.args)
                except BaseException:  # noqa: S110 - the long way finds the words for it
                    pass
                else:
                    pace = served.pace
                    if (
                        pace is not None
                        and pace.until <= now
                        and type(message) is Call
                        and not message.credit
                        and not interceptors
                        and session not in served.queue.lines  # type: ignore[union-attr] # which it has
                    ):
                        alike = message.method, message.timeout
                        those = together.get(alike)
                        if those is None:
                            together[alike] = [(message, args)]
                        else:
                            those.append((message, args))
                        continue
            if args is None:
                values.taken = 0
                try:
                    args, kwargs = served.bind(values, message.args, message.kwargs)
                    if options is not None:
                        read_metadata(method.name, options)
                except errors.InvalidArgument as error:
                    self._reject(session, message, error, served.statistics)
                    continue
            if (
                type(message) is Call
                and served.immediate
                and not message.credit
                and not interceptors
                and (options is None or options.versions is None)
            ):
                # The hot path: the handler runs here and now, so its call needs no place among those in flight, and no context
                # of its own as long as none is set anything in.
                handling.set(message)
                try:
                    result = method.function(*args, **kwargs)
                except BaseException as error:
                    self.came_back(method.name, error)
                    self.finish_inline(session, message, served, None, error, now)
                    continue
                if self._generation != forks.generation:
                    self.came_back(method.name)
                kind = type(result)
                if kind in VALUES:
                    try:
                        if (
                            kind is not bytes or len(result) >= FRAME_BYTES
                        ):  # (of which `pack` makes nothing else)
                            result = pack(result, limit)
                        session.outbox.append(Reply(message.id, result))
                        inline = served.statistics
                        inline.calls += 1
                        ends = served.ends
                        if ends is not None:
                            if not ends:
                                timed.append(served)
                            ends.append(time.monotonic())
                        continue
                    except BaseException:  # noqa: S110 - the long way finds the words for it
                        pass
                self.finish_inline(session, message, served, result, None, now)
                continue
            if together:  # which came before
                self._start_together(session, together, now)
            size = size_of(message, values)
            inputs: Sequence[Input] = ()
            if values.streamed:
                inputs, args, kwargs = with_inputs(served, values, args, kwargs)
            run = None
            if served.once is not None:
                run = self._run_of(session, message, served, served.once, values, size)
                if run is None:
                    continue
            if type(message) is Call:
                self._start(session, message, served, args, kwargs, inputs, now, size, run)
            else:
                self._start_note(session, message, served, args, kwargs, inputs, now, size, run)  # type: ignore[arg-type]
        if together:
            self._start_together(session, together, now)
        self._now = 0.0
        if inline is not None:
            inline.took(time.monotonic() - now)
        for served in timed:
            self._observer.ran_at_once(served, now)
        return undone

    def reject(
        self, session: Session, message: Call | Notify, error: errors.CallError, *, quiet: bool = False
    ) -> None:
        """Refuse a call that was not dispatched; a one-way call, which cannot be told, is logged unless `quiet`."""
        served = self.methods.get(message.method)
        if type(message) is Notify and quiet:
            if served is not None:
                served.statistics.refused += 1
            if self._observer.active:
                code, _, text = errors.to_wire(error)
                self._observer.refused(message, code, text)
        else:
            self._reject(session, message, error, None if served is None else served.statistics)

    def complete(
        self, call: Invocation, result: Any, error: BaseException | None, *, ran: bool = True
    ) -> None:
        """A handler has ended, or never `ran`: answer, unless nobody waits any more. A call finishes once: a future of the user's may
        report what it likes."""
        if call.context is None:
            return
        self._in_flight.release(call.session.quota, call.memory)
        try:
            if call.flight is not None:
                result, error = call.landed(result, error, ran)  # type: ignore[attr-defined] # which it has
            if call.interception is not None:
                result, error = self._intercepted(call, result, error)
        except Exception as failure:  # of ringback's own: what the call holds is given back all the same
            result, error = None, failure
        # They may be large, and the heap of deadlines remembers the call for a while.
        call.args, call.kwargs = (), {}
        call.context = None  # in which the call itself is: a cycle
        now = self._now
        if ran:
            statistics = call.served.statistics
            statistics.calls += 1
            if not now:
                statistics.took(time.monotonic() - call.came)
        if not now:
            now = self._now = time.monotonic()
        if call.held:
            # (one that failed or was stopped says nothing of how long such calls take)
            self.launcher.ended(call, now, ran=ran and error is None)
        if call.input is not None:
            call.input.ended(errors.Cancelled(f"the call of {call.method.name} has ended"))
            call.input = None
        if not call.ended:
            self.answer(call, call.success(result) if error is None else self._error(call, error))
        if self._observer.active:
            self._observer.over(call)
        call.options = None  # its metadata may be large too
        call.handle = None  # else, of one that was cancelled, a cycle would stay, for as long as nothing else is collected
        if self._machine.phase is not _SERVING:
            self.tell(
                call.session
            )  # also without an answer: it may have been the last that the end waits for

    def complain(self, call: Invocation | BatchedCall, what: str, error: BaseException) -> None:
        """Log what the service's own code has done wrong, with its traceback."""
        method, peer = call.method.name, call.session.peer
        more = {"call": call.id, "method": method, "peer": peer, "code": errors.RemoteError.code}
        if call.span is not None:
            more["trace_id"] = call.span.trace_id
        self._raised(logging.ERROR, f"%s {what} for %s", method, peer, fields=more, error=error)

    def tell(self, session: Session) -> None:
        """A session has something to be sent, or may have."""
        if type(session) is not Session:
            session = session.gathered()  # type: ignore[attr-defined] # of a map: to the client's own
        self._answered(session)

    @property
    def free(self) -> int:
        """Bytes below half of the bound: up to there, a rough estimate will do."""
        return self._in_flight.room - self._in_flight.max_bytes // 2

    def hold_map(self, session: Session, memory: int) -> str:
        """Count a map, with so many bytes, and return ""; or say why it is not taken."""
        full = self._in_flight.admit_bytes(session.quota, memory)
        if not full:
            self._in_flight.maps += 1
        return full

    def release_map(self, session: Session, memory: int) -> None:
        """A map has ended."""
        self._in_flight.maps -= 1
        self._in_flight.release_bytes(session.quota, memory)
        if self._machine.phase is not _SERVING:
            self.tell(session)  # it may have been the last that the end waits for

    def room_for_calls(self, session: Session) -> int:
        """How many more calls of the client's may be in flight."""
        return self._in_flight.room_for_calls(session.quota)

    def rows(self, served: ServedMethod, message: Map) -> list[tuple[Any, ...]] | None:
        """The arguments of all calls of a map, where these may run one after the other without a look at each."""
        options, decode = message.options, served.method.arguments.short_list
        if (
            decode is None
            or self._interceptors
            or not (served.immediate or (served.in_a_row and not self._observer.traces))
        ):
            return None
        if options is not None and options.versions is not None:
            return None
        try:
            rows = decode(message.args)
            if options is not None:
                read_metadata(served.method.name, options)
        except BaseException:  # each by itself, which finds the words for it
            return None
        return rows

    def start_slice(self, part: Invocation) -> None:
        """Have a worker run calls of a map, when its turn comes."""
        now = time.monotonic()
        part.session.calls[part.id] = part
        self._in_flight.hold(part.session.quota)
        if part.deadline is not None:
            self.expire_at(part.deadline, part)
        if self._observer.active:
            part.counted = True  # its calls are, one by one
            self._observer.begun(part)
        if self.launcher.freed:  # who waits for what an earlier slice has given back comes first
            self.launcher.go_on(now)
        self.launcher.take(part, now)

    def ran_slice(self, part: Invocation, well: int, failed: int) -> None:
        """Count its calls."""
        statistics = part.served.statistics
        statistics.calls += well + failed - 1  # as it counts for one itself
        statistics.errors += failed
        if self._observer.active:
            self._observer.ran_slice(part, well)

    def failure_of(self, call: Invocation, error: BaseException) -> Failure:
        """What tells the client of an error."""
        told = self._error(call, error)
        if self._observer.active and call.counted:
            self._observer.failed_in_slice(call, told.code)
        return Failure(told.code, told.message, told.kind)

    def follow(
        self, session: Session, message: Call, served: ServedMethod, future: Future[Any], came: float
    ) -> None:
        """A call of a map has returned a future: it ends with that."""
        call = Invocation(self, session, message.id, served, (), {}, None, message.options, came)
        session.calls[message.id] = call
        self._in_flight.hold(session.quota)
        if self._observer.active:
            self._observer.begun(call)
        call.follow(future)

    def ran_at_once(self, served: ServedMethod, began: float) -> None:
        """Calls of a map have run in one loop, and their ends are to be recorded."""
        self._observer.ran_at_once(served, began)

    def admits(self, call: Invocation) -> bool:
        """Whether a call that no client waits for may run; then it counts."""
        if self._machine.phase is not Phase.SERVING or self._in_flight.admit(call.session.quota, call.memory):
            return False
        if call.deadline is not None and not call.method.inline:
            self.expire_at(call.deadline, call)
        call.counted = True  # among the calls that clients have made it is not
        if self._observer.active:
            self._observer.begun(call)
        return True

    def abandon(self, call: Invocation) -> None:
        """Cancel a call of a disconnected client, soon: a client may leave thousands, more than one turn of the loop should cancel."""
        self._abandoned.append(call)
        if len(self._abandoned) == 1:
            self.loop.call_after_poll(self._cancel_abandoned)

    def _cancel_abandoned(self) -> None:
        for _ in range(min(_CANCELLED_PER_TURN, len(self._abandoned))):
            self._abandoned.popleft().cancel()
        if self._abandoned:
            self.loop.call_after_poll(self._cancel_abandoned)

    def look(self) -> None:
        """From time to time."""
        self.launcher.look(time.monotonic())

    def answer(self, call: Invocation | BatchedCall, message: Reply | Error | Refusal | End) -> None:
        """End the call at this end, with its last message."""
        if type(message) is Error:
            call.served.statistics.errors += 1
        if self._observer.active:
            self._observer.answered(call, message)
        told = None
        if call.versions is not None and type(message) is not Refusal:
            told = self._versions.told(call.id, call.versions)
        call.session.reply(call, message, told)
        self.tell(call.session)

    def refuse(self, call: Invocation, error: errors.CallError) -> None:
        """End a call that was accepted, and has not begun."""
        if not call.ended:
            call.served.statistics.refused += 1
            self.answer(call, Refusal(call.id, error.code, error.message, started=False))
        self.complete(call, None, error, ran=False)

    def _go_on_with(self, call: Invocation) -> None:
        """The replica has the version that the call has waited for."""
        if call.ended:
            call.drop()
        else:
            self._begin(call, time.monotonic())

    def send_item(self, call: Invocation, item: Raw) -> None:
        if not call.ended:
            call.session.outbox.append(Item(call.id, item))
            self.tell(call.session)

    def send_credit(self, call: Invocation, items: int) -> None:
        if not call.ended:
            call.session.outbox.append(Credit(call.id, items))
            self.tell(call.session)

    @property
    def room(self) -> int:
        """Bytes that may still come in flight."""
        return self._in_flight.room

    def charge(self, call: Invocation, size: int) -> None:
        """Count so many bytes more for the call. Raises ResourceExhausted where there are as many in flight as the server takes."""
        full = self._in_flight.admit_bytes(call.session.quota, size)
        if full:
            raise errors.ResourceExhausted(f"{call.method.name}: {full}")
        call.memory += size

    def refund(self, call: Invocation, size: int) -> None:
        """The call needs so many of its bytes no longer."""
        self._in_flight.release_bytes(call.session.quota, size)
        call.memory -= size

    def tick(self) -> None:
        """Give up the calls whose time is over: stop what can be stopped, drop what has not begun."""
        self._timer = None
        now = time.monotonic()
        for call in self._deadlines.expired(now):
            call.expire()
            call.cancel()
        self._set_timer()

    @property
    def calls(self) -> int:
        """How many calls of the service's own methods have ended."""
        served = self.methods.items()
        return sum(each.statistics.calls for name, each in served if not name.startswith(RESERVED))

    def stats(self) -> dict[str, Any]:
        """What this process does: calls by method, what waits, and what is taken. Times are in seconds."""
        in_flight = Counter(
            call.method.name for call in self._machine.calls() if isinstance(call, (Invocation, BatchedCall))
        )
        return {
            "service": self._name,
            "backend": self.loop.name,
            "process": os.getpid(),
            "seconds": time.monotonic() - self._began,
            "clients": len(self._machine.sessions),
            "in_flight": self._in_flight.calls,
            **self._table.snapshot(),
            "methods": {
                name: served.statistics.snapshot()
                | {"in_flight": in_flight[name]}
                | ({} if served.cached is None else {"cache": served.cached.counts()})
                for name, served in self.methods.items()
            },
        }

    def came_back(self, method: str, error: BaseException | None = None) -> None:
        """Where code of a handler has ended, or has raised the error: if this is a child that it has forked, that ends as well."""
        if self._generation != forks.generation:
            forks.came_back(method, error)

    def forked(self) -> None:
        """In a child: if a handler has forked it, it ends where that lets the loop go on."""
        self.watch.close()
        if self._timer is not None:
            self._timer.cancel()
        call: Any = handled()
        if getattr(call, "host", None) is self:
            method = call.current().method
            self.loop.come_back(lambda: forks.end(method))

    def close(self) -> None:
        while self._abandoned:
            self._abandoned.popleft().cancel()
        self.watch.close()
        self._observer.close()
        self._table.close()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _described(
        self, service: Service, visible: Callable[[Session], Mapping[str, MethodFlags] | None]
    ) -> Callable[[], dict[str, Any]]:
        """What tells a caller of the methods that it may call, and of no other."""

        def describe() -> dict[str, Any]:
            """Name, methods, signatures, docstrings and flags of this service."""
            call: Any = handled()
            seen = visible(call.session) or {}
            described = service.describe()
            return described | {"methods": [one for one in described["methods"] if one["name"] in seen]}

        return describe

    def finish_inline(
        self,
        session: Session,
        message: Call,
        served: ServedMethod,
        result: Any,
        failure: BaseException | None,
        now: float,
    ) -> None:
        """An inline handler raised, or returned what is no plain value, or too large a one."""
        context = copy_context()
        call = Invocation(self, session, message.id, served, (), {}, None, message.options, now, context)
        session.calls[message.id] = call
        self._in_flight.hold(session.quota)  # it has run: too late to refuse it
        if self._observer.active:
            self._observer.begun(call)
        call.returned(result, failure)

    def _start(
        self,
        session: Session,
        message: Call,
        served: ServedMethod,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        inputs: Sequence[Input],
        now: float,
        size: int,
        run: KeyedRun | None,
    ) -> None:
        method, statistics = served.method, served.statistics
        if method.is_stream is not (message.credit > 0):
            use = "a stream: use client.stream" if method.is_stream else "not a stream: use client.call"
            self._reject(session, message, errors.FailedPrecondition(f"{method.name} is {use}"), statistics)
            return
        if len(inputs) > 1:
            error = errors.InvalidArgument(f"{method.name}: only one argument may be a stream")
            self._reject(session, message, error, statistics)
            return
        if inputs and session.client is not session:
            error = errors.InvalidArgument(f"{method.name}: one of many calls takes no stream as an argument")
            self._reject(session, message, error, statistics)
            return
        if inputs and served.executor is not None:
            error = errors.InvalidArgument(
                f"{method.name}: it runs in another process, which no stream reaches"
            )
            self._reject(session, message, error, statistics)
            return
        if served.never:
            text = f"{method.name} can never run here: {served.never}"
            self._reject(session, message, errors.FailedPrecondition(text), statistics)
            return
        kind: Callable[..., Invocation] = StreamInvocation if method.is_stream else Invocation
        if served.cached is not None and not inputs:
            kind = cached(message, size) or Invocation
        taken = self._memory(message, args, kwargs, size)
        full = self._in_flight.admit(session.quota, taken)
        if full:
            self._reject(session, message, errors.ResourceExhausted(full), statistics)
            return
        deadline = self._deadline(method, message.timeout, now)
        call = kind(self, session, message.id, served, args, kwargs, deadline, message.options, now)
        session.calls[message.id] = call
        call.memory = taken
        call.run = run
        if self._observer.active:
            self._observer.begun(call)
        if deadline is not None and not method.inline:
            self.expire_at(deadline, call)
        if method.is_stream:
            call.credit(message.credit)
        if inputs:
            (call.input,) = inputs
            call.input.bind(call, self)
            if message.id in session.ended_early:
                call.end_input()
        version = 0 if call.versions is None else self._versions.lacks(call.options)
        if version:
            self._wait_for_version(call, version, now)
        else:
            self._begin(call, now)

    def _start_together(
        self,
        session: Session,
        together: CallsTogether,
        now: float,
    ) -> None:
        """Begin calls that came together."""
        for (name, timeout), those in together.items():
            served = self.methods[name]
            # (in the order in which they came: neither before nor behind calls of the client that wait in the other way)
            assert served.batches is not None
            if len(those) == 1 and session not in served.batches.lines:
                ((message, args),) = those
                self._start(session, message, served, args, NO_NAMES, (), now, encoded(message), None)
            else:
                self._start_batch(session, served, those, self._deadline(served.method, timeout, now), now)
        together.clear()

    def _start_batch(
        self,
        session: Session,
        served: ServedMethod,
        those: Sequence[tuple[Call, tuple[Any, ...]]],
        deadline: float | None,
        now: float,
    ) -> None:
        batch = WorkerBatch(self, session, served, deadline, now)
        batched, calls, quota, free = batch.batched, session.calls, session.quota, self.free
        # What they may take at the most; as a rule that is not too much.
        most = (ELEMENT + 1) * sum([len(message.args) for message, _ in those])
        surely = self._in_flight.admits(quota, len(those), most)
        for message, args in those:
            memory = memory_of(message, args, NO_NAMES, len(message.args), free if surely else self.free)
            full = "" if surely else self._in_flight.admit(quota, memory)
            if full:
                self._reject(session, message, errors.ResourceExhausted(full), served.statistics)
            else:
                call = calls[message.id] = BatchedCall(session, message.id, batch, args, memory)
                batched.append(call)
        if surely:
            self._in_flight.hold(quota, sum([call.memory for call in batched]), len(batched))
        if self._observer.active:
            for call in batched:
                self._observer.begun(call)
        if batched:
            batch.calls = len(batched)
            if deadline is not None:
                self.expire_at(deadline, batch)
            self.launcher.take(batch, now)

    def _deadline(self, method: Method, timeout: int | None, now: float) -> float | None:
        """Of a call that has come with that timeout, in milliseconds."""
        deadline = None if timeout is None else now + timeout / 1000
        if method.timeout is None:
            return deadline
        return now + method.timeout if deadline is None else min(deadline, now + method.timeout)

    def single(self, call: BatchedCall) -> Invocation:
        """The same call, of no batch."""
        session = call.session
        single = Invocation(
            self, session, call.id, call.served, call.args, {}, call.deadline, None, call.came
        )
        single.memory, single.ended, single.counted = call.memory, call.ended, call.counted
        if not call.ended:
            session.calls[call.id] = single
            if call.deadline is not None:
                self.expire_at(call.deadline, single)
        if self._observer.active:
            self._observer.continues(call, single)
        call.let_go = True
        return single

    def release(self, batch: WorkerBatch, calls: Sequence[BatchedCall], ran: int) -> None:
        """Give back what these calls of it hold; `ran`: how many of them have run. They are answered."""
        if self._observer.active:
            for call in calls:
                self._observer.over(call)
        memory = sum([call.memory for call in calls])
        self._in_flight.release(batch.session.quota, memory, len(calls))
        for call in calls:
            call.let_go = True
        statistics = batch.served.statistics
        statistics.calls += ran
        if ran and not self._now:
            self._now = now = time.monotonic()
            statistics.took(now - batch.came)
        self.tell(batch.session)

    def batch_over(self, batch: WorkerBatch) -> None:
        """Give back what the batch holds."""
        batch.ended = True
        batch.context = batch.handle = None
        if batch.held:
            self.launcher.ended(batch, self._now or time.monotonic(), ran=batch.count > 0)

    @property
    def observed(self) -> bool:
        """Whether somebody notes how each call ends."""
        return self._observer.active

    def fail(self, call: Invocation | BatchedCall, error: BaseException) -> None:
        """Answer the call with that error, if it has not ended."""
        if not call.ended:
            self.answer(call, self._error(call, error))

    def _start_note(
        self,
        session: Session,
        message: Notify,
        served: ServedMethod,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        inputs: Sequence[Input],
        now: float,
        size: int,
        run: KeyedRun | None,
    ) -> None:
        why = served.never
        taken = self._memory(message, args, kwargs, size)
        if served.method.is_stream:
            why = "it is a stream"
        elif inputs:
            why = "nothing follows it that could be a stream"
        elif self._machine.phase is not Phase.SERVING:
            why = "the server is shutting down"
        why = why or self._in_flight.admit(session.quota, taken)
        if why:
            self._reject(session, message, errors.FailedPrecondition(why), served.statistics)
            return
        call = Invocation(self, session, 0, served, args, kwargs, None, message.options, now)
        call.memory = taken
        call.run = run
        if self._observer.active:
            self._observer.begun(call)
        self._begin(call, now)

    def _memory(
        self, message: Call | Notify, args: tuple[Any, ...], kwargs: dict[str, Any], size: int
    ) -> int:
        """The bytes that a call takes as long as it is in flight."""
        memory, options = memory_of(message, args, kwargs, size, self.free), message.options
        return memory if options is None else memory + memory_of_options(options)

    def _run_of(
        self,
        session: Session,
        message: Call | Notify,
        served: ServedMethod,
        once: Once,
        values: Unpacker,
        size: int,
    ) -> KeyedRun | None:
        """What runs a call once for its key; None where the call has been rejected."""
        try:
            return once.run_of(message, values, size)
        except errors.InvalidArgument as error:
            self._reject(session, message, error, served.statistics)
            return None

    def _wait_for_version(self, call: Invocation, version: int, now: float) -> None:
        """It begins when this replica has that version, or is refused. It has been accepted, and holds nothing."""
        seconds = PATIENCE if call.deadline is None else max(0.0, min(PATIENCE, call.deadline - now))
        over = False

        def caught_up() -> None:
            nonlocal over
            if not over:
                over = True
                timer.cancel()
                self._go_on_with(call)

        def too_late() -> None:
            nonlocal over
            if not over:
                over = True
                behind = call_off()
                text = f"this replica is {behind:,} behind version {version:,}, which the caller has seen"
                self.refuse(call, errors.Unavailable(text, started=False))

        timer = self.loop.call_later(seconds, too_late)
        call_off = self._versions.when_reached(version, lambda: self.post(caught_up))

    def versions_of(self, options: CallOptions | None) -> tuple[int, int]:
        """The version of this service's data that the caller has seen, and the one that a handler will see at least which begins now."""
        return self._versions.wanted(options), self._versions.reached(options)

    def _begin(self, call: Invocation, now: float) -> None:
        if self._interceptors:
            interception = call.interception = Interception()
            goes_on, result, error = call.within(interception.enter, self._interceptors, call.current())
            if not goes_on:
                call.interception = None
                self.complete(call, *self._packed(call, result, error))
                return
        self.launcher.take(call, now)

    def _intercepted(
        self, call: Invocation, result: Any, error: BaseException | None
    ) -> tuple[Any, BaseException | None]:
        assert call.interception is not None
        return self._packed(call, *call.within(call.interception.leave, result, error))

    def _packed(
        self, call: Invocation, result: Any, error: BaseException | None
    ) -> tuple[Any, BaseException | None]:
        if error is None:
            try:
                return call.pack(result), None
            except errors.CallError as unsendable:
                error = unsendable
        return None, error

    def _turn_begins(self) -> None:
        """Of what other threads have reported."""
        self._now = 0.0

    def _turn_ended(self) -> None:
        if self.launcher.freed:
            self.launcher.go_on(self._now)

    def stream_turns(self, method: Method) -> StreamTurns[StreamInvocation]:
        """The turns of streams of that method, and of others that run in the same place."""
        place = "coroutine" if method.is_async_stream else method.executor or "workers"
        turns = self._stream_turns.get(place)
        if turns is None:
            turns = self._stream_turns[place] = StreamTurns(
                StreamInvocation.submit, self.post, self._unstarted
            )
        return turns

    def _unstarted(self, call: Invocation, error: BaseException) -> None:
        self.complete(call, None, error, ran=False)

    def _reject(
        self,
        session: Session,
        message: Call | Notify,
        error: errors.CallError,
        statistics: MethodStatistics | None = None,
    ) -> None:
        if statistics is not None:
            statistics.refused += 1
        code, _, text = errors.to_wire(error)
        if self._observer.active:
            self._observer.refused(message, code, text)
        if isinstance(message, Call):
            session.outbox.append(Refusal(message.id, code, text, started=False))
        else:
            self._drop(session, message, error)

    def _drop(self, session: Session, note: Notify, why: object) -> None:
        """Nobody else would ever know of it."""
        method, reason = shortened(note.method), printable(shortened(str(why)))
        text = "one-way call to %r from %s dropped: %s"
        more = {"method": method, "peer": session.peer}
        self._dropped(logging.WARNING, text, method, session.peer, reason, fields=more)

    def _error(self, call: Invocation | BatchedCall, error: BaseException) -> Error:
        if errors.is_a(error, CancelledError):
            error = errors.Cancelled(f"{call.method.name} was cancelled at the server")
        elif not errors.is_ours(error):
            self.complain(call, "raised", error)
        return Error(call.id, *errors.to_wire(error))

    def expire_at(self, deadline: float, call: Invocation) -> None:
        self._deadlines.add(deadline, call)
        if self._timer is None or deadline < self._timer_due:
            self._set_timer()

    def _set_timer(self) -> None:
        due = self._deadlines.next()
        if due is not None and (self._timer is None or due < self._timer_due):
            if self._timer is not None:
                self._timer.cancel()
            self._timer_due = due
            self._timer = self.loop.call_later(max(0.0, due - time.monotonic()), self.tick)
