"""All calls that a server has accepted, until they end: their `CallHost`.

Worker threads and other loops report here. The reports gather, and are dealt with in one turn of the serving loop.
"""

from __future__ import annotations

import logging
import time
from asyncio import CancelledError
from collections import deque
from collections.abc import Callable, Mapping
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

from msgspec import Raw

from ... import errors
from ...backends.base import Handle, Loop
from ...handling import handled
from ...interceptors import Interceptor
from ...logs.bounded import Bounded
from ...protocol.messages import Call, CallOptions, Credit, End, Error, Failure, Item, Refusal, Reply
from ...protocol.server import Phase, ServerMachine, Session
from ...runtime import forks
from ...state.store import State
from ..declare.service import Method
from ..methods.statistics import MethodStatistics
from ..methods.table import MethodTable, ServedMethod
from .deadlines import Deadlines
from .invocations.batches import BatchedCall
from .invocations.invocation import Invocation
from .invocations.stream_turns import StreamTurns
from .invocations.streams import StreamInvocation
from .invocations.watch import WorkerWatch
from .launcher import Launcher
from .observer import CallObserver
from .posted import Posted
from .versions import ServiceVersions

if TYPE_CHECKING:
    from concurrent.futures import Future

    from ...tracing.spans import Tracing

log = logging.getLogger("ringback.server")

_SERVING = Phase.SERVING  # looked up once (see protocol/server.py)

# Abandoned calls that one turn of the loop cancels.
_CANCELLED_PER_TURN = 64


class ActiveCalls:
    """The accepted calls of one server. `answered` is called with every session that may have something to send."""

    def __init__(
        self,
        loop: Loop,
        machine: ServerMachine,
        answered: Callable[[Session], object],
        table: MethodTable,
        methods: Mapping[str, ServedMethod],
        versions: ServiceVersions,
        interceptors: list[Interceptor],
        state: State | None,
        tracing: Tracing | None,
    ) -> None:
        self.loop = loop
        self.app: Any = None
        self.state = state
        self.in_flight = machine.in_flight
        self._machine = machine
        self._answered = answered
        self._table = table
        self._versions = versions
        self._interceptors = interceptors
        self.launcher = Launcher(table, loop, self.in_flight, self.refuse)
        self._deadlines: Deadlines[Invocation] = Deadlines(lambda call: not call.ended)
        self._timer: Handle | None = None
        self._timer_due = 0.0
        self._stream_turns: dict[str, StreamTurns[StreamInvocation]] = {}  # by the place where generators run
        self.now = 0.0  # when the calls of this turn end; 0 until the first one does
        self._abandoned: deque[Invocation] = deque()
        self.observer = CallObserver(methods, machine, tracing)
        self._raised = Bounded(log, 100)  # more lines than for others: each is a fault of the service's own
        self._posted = Posted(loop, self._raised, self._turn_begins, self._turn_ended)
        self.post = self._posted.post
        self.watch = WorkerWatch(loop, self.post)
        self._generation = forks.generation

    def complete(
        self, call: Invocation, result: Any, error: BaseException | None, *, ran: bool = True
    ) -> None:
        """A handler has ended, or never `ran`: answer, unless nobody waits any more. A call finishes once: a future of the user's may
        report what it likes."""
        if call.context is None:
            return
        self.in_flight.release(call.session.quota, call.memory)
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
        now = self.now
        if ran:
            statistics = call.served.statistics
            statistics.calls += 1
            if not now:
                statistics.took(time.monotonic() - call.came)
        if not now:
            now = self.now = time.monotonic()
        if call.held:
            # (one that failed or was stopped says nothing of how long such calls take)
            self.launcher.ended(call, now, ran=ran and error is None)
        if call.input is not None:
            call.input.ended(errors.Cancelled(f"the call of {call.method.name} has ended"))
            call.input = None
        if not call.ended:
            self.answer(call, call.success(result) if error is None else self._error(call, error))
        if self.observer.active:
            self.observer.over(call)
        call.options = None  # its metadata may be large too
        call.handle = None  # else, of one that was cancelled, a cycle would stay, for as long as nothing else is collected
        if self._machine.phase is not _SERVING:
            self.tell(
                call.session
            )  # also without an answer: it may have been the last that the end waits for

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
        self.in_flight.hold(session.quota)  # it has run: too late to refuse it
        if self.observer.active:
            self.observer.begun(call)
        call.returned(result, failure)

    def fail(self, call: Invocation | BatchedCall, error: BaseException) -> None:
        """Answer the call with that error, if it has not ended."""
        if not call.ended:
            self.answer(call, self._error(call, error))

    def refuse(self, call: Invocation, error: errors.CallError) -> None:
        """End a call that was accepted, and has not begun."""
        if not call.ended:
            call.served.statistics.refused += 1
            self.answer(call, Refusal(call.id, error.code, error.message, started=False))
        self.complete(call, None, error, ran=False)

    def answer(self, call: Invocation | BatchedCall, message: Reply | Error | Refusal | End) -> None:
        """End the call at this end, with its last message."""
        if type(message) is Error:
            call.served.statistics.errors += 1
        if self.observer.active:
            self.observer.answered(call, message)
        told = None
        if call.versions is not None and type(message) is not Refusal:
            told = self._versions.told(call.id, call.versions)
        call.session.reply(call, message, told)
        self.tell(call.session)

    def follow(
        self, session: Session, message: Call, served: ServedMethod, future: Future[Any], came: float
    ) -> None:
        """A call of a map has returned a future: it ends with that."""
        call = Invocation(self, session, message.id, served, (), {}, None, message.options, came)
        session.calls[message.id] = call
        self.in_flight.hold(session.quota)
        if self.observer.active:
            self.observer.begun(call)
        call.follow(future)

    def failure_of(self, call: Invocation, error: BaseException) -> Failure:
        """What tells the client of an error."""
        told = self._error(call, error)
        if self.observer.active and call.counted:
            self.observer.failed_in_slice(call, told.code)
        return Failure(told.code, told.message, told.kind)

    def _error(self, call: Invocation | BatchedCall, error: BaseException) -> Error:
        if errors.is_a(error, CancelledError):
            error = errors.Cancelled(f"{call.method.name} was cancelled at the server")
        elif not errors.is_ours(error):
            self.complain(call, "raised", error)
        return Error(call.id, *errors.to_wire(error))

    def _intercepted(
        self, call: Invocation, result: Any, error: BaseException | None
    ) -> tuple[Any, BaseException | None]:
        assert call.interception is not None
        return self.packed(call, *call.within(call.interception.leave, result, error))

    def packed(
        self, call: Invocation, result: Any, error: BaseException | None
    ) -> tuple[Any, BaseException | None]:
        if error is None:
            try:
                return call.pack(result), None
            except errors.CallError as unsendable:
                error = unsendable
        return None, error

    def timed(self, statistics: MethodStatistics, came: float) -> float:
        """Note the response time of a call that came then, if it is the first that ends in this turn. Returns the time of that end."""
        if not self.now:
            self.now = time.monotonic()
            statistics.took(self.now - came)
        return self.now

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

    def send_item(self, call: Invocation, item: Raw) -> None:
        if not call.ended:
            call.session.outbox.append(Item(call.id, item))
            self.tell(call.session)

    def send_credit(self, call: Invocation, items: int) -> None:
        if not call.ended:
            call.session.outbox.append(Credit(call.id, items))
            self.tell(call.session)

    @property
    def serving(self) -> bool:
        """Whether the server takes calls: it does not drain."""
        return self._machine.phase is _SERVING

    @property
    def free(self) -> int:
        """Bytes below half of the bound: up to there, a rough estimate will do."""
        return self.in_flight.room - self.in_flight.max_bytes // 2

    @property
    def room(self) -> int:
        """Bytes that may still come in flight."""
        return self.in_flight.room

    def charge(self, call: Invocation, size: int) -> None:
        """Count so many bytes more for the call. Raises ResourceExhausted where there are as many in flight as the server takes."""
        full = self.in_flight.admit_bytes(call.session.quota, size)
        if full:
            raise errors.ResourceExhausted(f"{call.method.name}: {full}")
        call.memory += size

    def refund(self, call: Invocation, size: int) -> None:
        """The call needs so many of its bytes no longer."""
        self.in_flight.release_bytes(call.session.quota, size)
        call.memory -= size

    def admits(self, call: Invocation) -> bool:
        """Whether a call that no client waits for may run; then it counts."""
        if self._machine.phase is not Phase.SERVING or self.in_flight.admit(call.session.quota, call.memory):
            return False
        if call.deadline is not None and not call.method.inline:
            self.expire_at(call.deadline, call)
        call.counted = True  # among the calls that clients have made it is not
        if self.observer.active:
            self.observer.begun(call)
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

    def expire_at(self, deadline: float, call: Invocation) -> None:
        self._deadlines.add(deadline, call)
        if self._timer is None or deadline < self._timer_due:
            self._set_timer()

    def tick(self) -> None:
        """Give up the calls whose time is over: stop what can be stopped, drop what has not begun."""
        self._timer = None
        now = time.monotonic()
        for call in self._deadlines.expired(now):
            call.expire()
            call.cancel()
        self._set_timer()

    def _set_timer(self) -> None:
        due = self._deadlines.next()
        if due is not None and (self._timer is None or due < self._timer_due):
            if self._timer is not None:
                self._timer.cancel()
            self._timer_due = due
            self._timer = self.loop.call_later(max(0.0, due - time.monotonic()), self.tick)

    def versions_of(self, options: CallOptions | None) -> tuple[int, int]:
        """The version of this service's data that the caller has seen, and the one that a handler will see at least which begins now."""
        return self._versions.wanted(options), self._versions.reached(options)

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

    def look(self) -> None:
        """From time to time."""
        self.launcher.look(time.monotonic())

    def close(self) -> None:
        while self._abandoned:
            self._abandoned.popleft().cancel()
        self.watch.close()
        self.observer.close()
        self._table.close()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _turn_begins(self) -> None:
        """Of what other threads have reported."""
        self.now = 0.0

    def _turn_ended(self) -> None:
        if self.launcher.freed:
            self.launcher.go_on(self.now)
