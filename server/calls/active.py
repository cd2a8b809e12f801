"""All calls that a server has accepted and that have not ended; the `CallHost` of each.

Worker threads and other loops report results here. The serving loop processes the queued reports
together, in one turn.
"""

from __future__ import annotations

import logging
import time
from asyncio import CancelledError
from collections import deque
from collections.abc import Callable, Mapping
from contextvars import Context, copy_context
from typing import TYPE_CHECKING, Any

from msgspec import Raw

from ... import errors
from ...backends.base import Handle, Loop
from ...handling import handled
from ...interceptors import Interceptor
from ...logs.bounded import Bounded
from ...protocol.messages import (
    Call,
    CallOptions,
    Credit,
    End,
    Error,
    Failure,
    Item,
    Refusal,
    Reply,
)
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

# Maximum abandoned calls that one turn of the loop cancels.
_CANCELLED_PER_TURN = 64


class ActiveCalls:
    """The accepted calls of one server.

    It calls `answered` with each session that may have messages to send.
    """

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
        self._stream_turns: dict[str, StreamTurns[StreamInvocation]] = {}  # by where generators run
        self.now = 0.0  # time at which this turn's calls end; 0 until the first one ends
        self._abandoned: deque[Invocation] = deque()
        self.observer = CallObserver(methods, machine, tracing)
        self._raised = Bounded(log, 100)  # more lines: each is a fault of the service
        self._posted = Posted(loop, self._raised, self._turn_begins, self._turn_ended)
        self.post = self._posted.post
        self.watch = WorkerWatch(loop, self.post)
        self._generation = forks.generation

    def complete(
        self, call: Invocation, result: Any, error: BaseException | None, *, ran: bool = True
    ) -> None:
        """Finish a call whose handler has ended, or never `ran`.

        Replies unless the call has ended for its client. Only the first report counts, since a
        user's future may report several times.
        """
        if call.context is None:
            return
        self.in_flight.release(call.session.quota, call.memory)
        try:
            if call.flight is not None:
                result, error = call.landed(result, error, ran)  # type: ignore[attr-defined]
            if call.interception is not None:
                result, error = self._intercepted(call, result, error)
        except Exception as failure:  # a fault of ringback: still release what the call holds
            result, error = None, failure
        # Arguments may be large, and the heap of deadlines keeps the call for a while.
        call.args, call.kwargs = (), {}
        call.context = None  # breaks a cycle: the context refers to the call
        if ran:
            call.served.statistics.calls += 1
            self.timed(call.served.statistics, call.came)
        now = self.now = self.now or time.monotonic()
        if call.held:
            # (The running time of a failed or cancelled call is not typical.)
            self.launcher.ended(call, now, ran=ran and error is None)
        if call.input is not None:
            call.input.ended(errors.Cancelled(f"the call of {call.method.name} has ended"))
            call.input = None
        if not call.ended:
            self.answer(call, call.success(result) if error is None else self._error(call, error))
        if self.observer.active:
            self.observer.over(call)
        call.options = None  # its metadata may be large too
        call.handle = None  # breaks a cycle that a cancelled call would leave
        if self._machine.phase is not _SERVING:
            # Even without a reply: the drain may have waited for this call alone.
            self.tell(call.session)

    def finish_inline(
        self,
        session: Session,
        message: Call,
        served: ServedMethod,
        result: Any,
        failure: BaseException | None,
        now: float,
    ) -> None:
        """Finish an inline call that raised, or whose result is not plain or is too large."""
        self._ran(session, message, served, now, copy_context()).returned(result, failure)

    def fail(self, call: Invocation | BatchedCall, error: BaseException) -> None:
        """Reply with an error, unless the call has ended."""
        if not call.ended:
            self.answer(call, self._error(call, error))

    def refuse(self, call: Invocation, error: errors.CallError) -> None:
        """Refuse a call that was accepted but has not started."""
        if not call.ended:
            call.served.statistics.refused += 1
            self.answer(call, Refusal(call.id, error.code, error.message, started=False))
        self.complete(call, None, error, ran=False)

    def answer(
        self, call: Invocation | BatchedCall, message: Reply | Error | Refusal | End
    ) -> None:
        """Send the last message of a call, which ends it for the client."""
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
        self,
        session: Session,
        message: Call,
        served: ServedMethod,
        future: Future[Any],
        came: float,
    ) -> None:
        """Finish a call of a map with the outcome of the future that its handler returned."""
        self._ran(session, message, served, came).follow(future)

    def _ran(
        self,
        session: Session,
        message: Call,
        served: ServedMethod,
        came: float,
        context: Context | None = None,
    ) -> Invocation:
        """An Invocation for a call whose handler has run, and which waits for its outcome."""
        call = Invocation(
            self, session, message.id, served, (), {}, None, message.options, came, context
        )
        session.calls[message.id] = call
        self.in_flight.hold(session.quota)  # it has run, so it cannot be refused
        if self.observer.active:
            self.observer.begun(call)
        return call

    def failure_of(self, call: Invocation, error: BaseException) -> Failure:
        """The Failure that reports an error of a map's call to the client."""
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

    def timed(self, statistics: MethodStatistics, came: float) -> None:
        """Record the response time of a call, if it is the first to end in this turn."""
        if not self.now:
            self.now = time.monotonic()
            statistics.took(self.now - came)

    def complain(self, call: Invocation | BatchedCall, what: str, error: BaseException) -> None:
        """Log an error of the service's own code, with its traceback."""
        method, peer = call.method.name, call.session.peer
        more = {"call": call.id, "method": method, "peer": peer, "code": errors.RemoteError.code}
        if call.span is not None:
            more["trace_id"] = call.span.trace_id
        self._raised(logging.ERROR, f"%s {what} for %s", method, peer, fields=more, error=error)

    def tell(self, session: Session) -> None:
        """Report that a session may have messages to send."""
        if type(session) is not Session:
            session = session.gathered()  # type: ignore[attr-defined] # of a map
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
        """Whether the server accepts calls. False while it drains."""
        return self._machine.phase is _SERVING

    @property
    def free(self) -> int:
        """Bytes left below half of the limit. Up to there a rough estimate suffices."""
        return self.in_flight.room - self.in_flight.max_bytes // 2

    @property
    def room(self) -> int:
        """Bytes that may still be added to those in flight."""
        return self.in_flight.room

    def charge(self, call: Invocation, size: int) -> None:
        """Add bytes to those counted for the call.

        Raises ResourceExhausted if the server has no room for them.
        """
        full = self.in_flight.admit_bytes(call.session.quota, size)
        if full:
            raise errors.ResourceExhausted(f"{call.method.name}: {full}")
        call.memory += size

    def refund(self, call: Invocation, size: int) -> None:
        """Subtract bytes from those counted for the call."""
        self.in_flight.release_bytes(call.session.quota, size)
        call.memory -= size

    def admits(self, call: Invocation) -> bool:
        """Whether a background call, which has no client, may run. If so, counts it in flight."""
        if not self.serving or self.in_flight.admit(call.session.quota, call.memory):
            return False
        if call.deadline is not None and not call.method.inline:
            self.expire_at(call.deadline, call)
        call.counted = True  # keeps it out of the metrics of clients' calls
        if self.observer.active:
            self.observer.begun(call)
        return True

    def abandon(self, call: Invocation) -> None:
        """Cancel a call of a disconnected client in a later turn of the loop.

        A client may leave thousands of calls, more than one turn should cancel.
        """
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
        """Fail the calls whose deadline has passed.

        Cancels running handlers where possible, and drops waiting calls.
        """
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
        """Two versions of this service's data: the one that the caller has seen, and the lowest one
        that a handler starting now can see."""
        return self._versions.wanted(options), self._versions.reached(options)

    def stream_turns(self, method: Method) -> StreamTurns[StreamInvocation]:
        """The queue that the method's streams share with all others that run in the same place."""
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
        """Called after a handler has run. Ends this process if the handler forked it."""
        if self._generation != forks.generation:
            forks.came_back(method, error)

    def forked(self) -> None:
        """In a forked child: end it once its handler returns control to the loop."""
        self.watch.close()
        if self._timer is not None:
            self._timer.cancel()
        call: Any = handled()
        if getattr(call, "host", None) is self:
            method = call.current().method
            self.loop.come_back(lambda: forks.end(method))

    def look(self) -> None:
        """Periodic check of the queues."""
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
        """Called before the loop processes reports of other threads."""
        self.now = 0.0

    def _turn_ended(self) -> None:
        if self.launcher.freed:
            self.launcher.go_on(self.now)
