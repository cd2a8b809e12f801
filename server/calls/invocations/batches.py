"""Batches: calls of one method that arrived together, and that one worker runs one after the other.

The scheduler treats a batch as one call, so all its calls share the cost of one hand-over. This
pays for short calls. If a worker takes long for a batch, the server replies to its finished calls.
It then schedules the calls behind the running one singly, as any other call.
"""

from __future__ import annotations

import concurrent.futures
import time
from collections import deque
from collections.abc import Iterable, Sequence
from contextvars import Context
from math import inf
from typing import TYPE_CHECKING, Any, Protocol

from msgspec import Raw, Struct

from .... import errors
from ....context import CurrentCall
from ....handling import Handling, handling
from ....protocol.bounds import FRAME_BYTES
from ....protocol.inflight import InFlight
from ....protocol.messages import Error, Reply
from ....protocol.server import IncomingCall, Session
from ....runtime import forks
from ...methods.statistics import MethodStatistics
from ...methods.table import ServedMethod
from ...scheduling.pace import LONG
from .host import CallHost
from .invocation import VALUES, Invocation, out_of_time
from .watch import WorkerWatch

if TYPE_CHECKING:
    from ...declare.service import Method

# Seconds for which a greenlet runs calls before it lets the loop run, and how many such slices a
# batch gets before it counts as long.
GREENLET_SLICE, GREENLET_SLICES = 0.0005, 2


class BatchedCall(Struct, Handling, eq=False):
    """One call of a batch.

    The batch has `let_go` of it once its handler has ended, or once it is scheduled singly.
    """

    session: Session
    id: int
    batch: Any  # a WorkerBatch
    args: tuple[Any, ...]
    memory: int
    ended: bool = False
    counted: bool = False  # whether the observer has recorded its end
    let_go: bool = False

    span = None  # a traced call is never in a batch

    @property
    def host(self) -> Any:
        return self.batch.host

    @property
    def method(self) -> Method:
        return self.batch.method  # type: ignore[no-any-return]

    @property
    def served(self) -> ServedMethod:
        return self.batch.served  # type: ignore[no-any-return]

    @property
    def came(self) -> float:
        return self.batch.came  # type: ignore[no-any-return]

    @property
    def deadline(self) -> float | None:  # type: ignore[override] # read only
        return self.batch.deadline  # type: ignore[no-any-return]

    def current(self) -> CurrentCall:
        host, session = self.host, self.session
        return CurrentCall(
            self.method.name,
            self.deadline,
            {},
            session.peer,
            0,
            host.app,
            host.state,
            user=session.user,
        )

    @property
    def parts(self) -> Iterable[IncomingCall]:
        return (self,)

    def cancel(self) -> None:
        self.args = ()
        if not self.let_go:
            self.batch.gave_up(self)

    def abandon(self) -> None:
        self.host.abandon(self)

    def credit(self, items: int) -> None:
        """Does nothing: the call is no stream."""

    def item(self, value: Raw) -> None:  # noqa: ARG002
        raise errors.ProtocolError(f"an item for {self.method.name}, which takes none")

    def fail(self, error: errors.CallError) -> None:
        self.host.answer(self, Error(self.id, *errors.to_wire(error)))
        self.cancel()

    def end_input(self) -> None:
        """Does nothing: the call has no input."""


class BatchHost(CallHost, Protocol):
    """The server's interface for batches, to be used on the serving loop."""

    in_flight: InFlight
    now: float  # time at which this turn's calls end; 0 until the first one ends
    observer: Any  # a CallObserver
    watch: WorkerWatch

    def expire_at(self, deadline: float, call: Any) -> None:
        """Call `expire` and `cancel` of the call at the deadline."""

    def fail(self, call: Any, error: BaseException) -> None:
        """Reply with an error, unless the call has ended."""

    def tell(self, session: Session) -> None:
        """Report that a session may have messages to send."""

    def timed(self, statistics: MethodStatistics, came: float) -> None:
        """Record the response time of a call, if it is the first to end in this turn."""


class WorkerBatch(Invocation):
    """A batch of one session's calls. Its calls get replies; it gets none itself."""

    host: BatchHost

    __slots__ = (
        "batched",
        "begun",
        "calls",
        "count",
        "long",
        "odd",
        "ran",
        "running",
        "slices",
        "stuck",
        "todo",
    )

    def __init__(
        self,
        host: BatchHost,
        session: Session,
        served: ServedMethod,
        deadline: float | None,
        now: float,
    ) -> None:
        super().__init__(host, session, 0, served, (), {}, deadline, None, now)
        self.queue = served.batches
        self.batched: list[BatchedCall] = []
        self.todo = iter(self.batched)  # threads share it: `next` is atomic
        self.calls = 0  # calls not cancelled
        # Written by the worker:
        self.begun = False
        self.running: BatchedCall | None = None
        self.count = 0  # calls started
        self.long = 0  # calls that took LONG or longer
        self.slices = 0  # times that a worker ran a part of it
        # Finished calls: `ran` has packed results, `odd` has errors and futures of results.
        self.ran: deque[tuple[BatchedCall, Any]] = deque()
        self.odd: deque[tuple[BatchedCall, Any]] = deque()
        self.stuck = False

    def gave_up(self, call: BatchedCall) -> None:
        """The caller has given up this call."""
        self.calls -= 1
        if call is self.running and self.handle is not None:
            self.handle.cancel()
        if not self.held:  # the batch still waits: free the call's place
            self.batched.remove(call)
            self._release((call,), 0)
        if not self.calls and not self.ended:
            self.ended = True
            if not self.held:
                self.host.launcher.given_up()

    def cancel(self) -> None:
        """Does nothing: each call is cancelled by itself."""

    def expire(self) -> None:
        """Fail all calls that have not ended: their common deadline has passed."""
        for call in self.batched.copy():
            if not (call.ended or call.let_go):
                self.host.answer(call, out_of_time(call))
                call.cancel()

    def begin(self) -> None:
        try:
            self._submit()
            if not self.in_greenlet:
                self.host.watch.add(self)
        except BaseException as error:
            self._over(error)

    def _submit(self) -> None:
        loop = self.host.loop
        self.handle = (loop.run_in_thread if self.served.in_thread else loop.run_in_worker)(
            self._work
        )

    def _work(self) -> None:
        """Run the batch, or a slice of it. In a worker."""
        host = self.host
        self.slices += 1
        if not self.in_greenlet:
            host.watch.began(self)
        else:
            if self.slices == 1:
                host.launcher.taken(self)
            host.loop.call_soon(self._yielded)
        try:
            over = self._run()
        except BaseException as error:  # a fault of ringback
            host.post(self._over, error)
        else:
            host.post(self._over if over else self._go_on)

    def _run(self) -> bool:
        """Run calls. True if none is left, False if the loop must run before the next one."""
        end = time.monotonic() + GREENLET_SLICE if self.in_greenlet else inf
        over = None
        while over is None:
            # Once a call has set a variable in the context, the next one needs a new context.
            context = Context()
            over = context.run(self._run_in, context, end)
        self.running = None
        return over

    def _run_in(self, context: Context, end: float) -> bool | None:
        """The same in `context`, which is empty at first. None if the next call needs a new one."""
        host, method, ran, cooperative = self.host, self.method, self.ran, self.in_greenlet
        generation, checked = forks.generation, method.result_check is not None
        late = inf if self.deadline is None else self.deadline
        last = time.monotonic()
        for call in self.todo:
            args = call.args
            if call.ended:
                continue
            if last >= late:
                return True
            handling.set(call)
            self.running = call
            self.count += 1
            try:
                result = method.function(*args)
                kind = type(result)
                if kind not in VALUES and isinstance(result, concurrent.futures.Future):
                    self.odd.append((call, result))
                else:
                    if checked or kind is not bytes or len(result) >= FRAME_BYTES:
                        result = self.pack(result)
                    ran.append((call, result))
            except BaseException as error:
                host.came_back(method.name, error)
                self.odd.append((call, error))
            if generation != forks.generation:
                host.came_back(method.name)
            now = time.monotonic()
            if now - last >= LONG:
                self.long += 1
            last = now
            if cooperative and (now >= end or not host.loop.worker_is_fresh()):
                return False
            if len(context) > 1:
                return None
        return True

    def _go_on(self) -> None:
        """Run the next slice, now that the loop has run."""
        if self.slices >= GREENLET_SLICES and not self.stuck:
            self.takes_long()
        if self.stuck:
            self._over()
            return
        try:
            self._submit()
        except BaseException as error:
            self._over(error)

    def _yielded(self) -> None:
        """The loop runs again: the greenlet waits inside a handler, or has ended."""
        if self.running is not None:
            self.host.post(self.takes_long)

    def takes_long(self) -> None:
        """Reply to the calls that have ended, and schedule those not yet started singly."""
        if self.context is None or self.stuck:
            return
        rest, host = list(self.todo), self.host
        self.stuck = True
        self._tell_pace()
        self._deliver()
        waiting = host.launcher.sets_aside(self)
        self._scatter(rest)
        self.batched = [call for call in self.batched if not call.let_go]
        for batch in waiting:  # or they would overtake these calls, which came first
            batch._scatter(batch.batched)
            batch.batched = []
            batch._end()

    def _scatter(self, calls: Iterable[BatchedCall]) -> None:
        """Schedule the calls singly."""
        for call in calls:
            single = self._single(call)
            if call.ended:
                single.drop()
            else:
                self.host.launcher.take(single, self.came)

    def _tell_pace(self) -> None:
        if self.count and self.served.pace is not None:
            self.served.pace.ran(self.count, self.long, time.monotonic(), stuck=self.stuck)

    def drop(self) -> None:
        """End a batch whose calls were all cancelled."""
        self._over()

    def _over(self, error: BaseException | None = None) -> None:
        """End the batch: no worker runs it any more. On the serving loop.

        `error` is what kept calls from starting, if anything did.
        """
        if self.context is None:
            return
        host = self.host
        host.watch.discard(self)
        try:
            self._deliver()
        except Exception as failure:  # a fault of ringback: still release what the batch holds
            error = failure
        left = [call for call in self.batched if not call.let_go]
        for call in left:
            if call.ended:
                continue
            if error is None:
                host.answer(call, out_of_time(call))
            else:
                host.fail(call, error)
        self._release(left, 0)
        if not self.stuck:
            self._tell_pace()
        self._end()
        # The heap of deadlines keeps the batch for a while. Keep no calls alive, and no cycle.
        self.batched, self.todo = [], iter(())

    def _deliver(self) -> None:
        """Reply to the calls that have ended."""
        host, session, ran, odd = self.host, self.session, self.ran, self.odd
        ended = [ran.popleft() for _ in range(len(ran))]
        if host.observer.active:
            for call, result in ended:
                if not call.ended:
                    host.answer(call, Reply(call.id, result))
        else:
            session.reply_all(ended)
        calls = [call for call, _ in ended]
        while odd:
            call, outcome = odd.popleft()
            if isinstance(outcome, BaseException):
                host.fail(call, outcome)
                calls.append(call)
            else:
                self._single(call).follow(outcome)
        self._release(calls, len(calls))

    def _single(self, call: BatchedCall) -> Invocation:
        """An Invocation that continues a call outside its batch."""
        host, session = self.host, call.session
        single = Invocation(
            host, session, call.id, self.served, call.args, {}, self.deadline, None, self.came
        )
        single.memory, single.ended, single.counted = call.memory, call.ended, call.counted
        if not call.ended:
            session.calls[call.id] = single
            if self.deadline is not None:
                host.expire_at(self.deadline, single)
        if host.observer.active:
            host.observer.continues(call, single)
        call.let_go = True
        return single

    def _release(self, calls: Sequence[BatchedCall], ran: int) -> None:
        """Release what these calls hold, after the replies. `ran` of the calls have run."""
        host = self.host
        if host.observer.active:
            for call in calls:
                host.observer.over(call)
        memory = sum([call.memory for call in calls])
        host.in_flight.release(self.session.quota, memory, len(calls))
        for call in calls:
            call.let_go = True
        statistics = self.served.statistics
        statistics.calls += ran
        if ran:
            host.timed(statistics, self.came)
        host.tell(self.session)

    def _end(self) -> None:
        """Release what the batch itself holds."""
        self.ended = True
        self.context = self.handle = None
        if self.held:
            now = self.host.now or time.monotonic()
            self.host.launcher.ended(self, now, ran=self.count > 0)
