"""Calls of one worker method that came together, and go to a worker together: one after the other, as one call of the scheduler's.

So what a hand-over costs is shared by all of them. That is for short calls. Where a worker does not get on with a batch, the calls behind
the one that it is at are scheduled singly, as others are.
"""

from __future__ import annotations

import concurrent.futures
import time
from collections.abc import Iterable
from contextvars import Context
from math import inf
from typing import TYPE_CHECKING, Any, Protocol

from msgspec import Raw, Struct

from ... import errors
from ...backends.base import Handle, Loop
from ...context import CurrentCall
from ...handling import Handling, handling
from ...protocol.bounds import FRAME_BYTES
from ...protocol.messages import Error, Reply
from ...protocol.server import IncomingCall, Session
from ...runtime import forks
from ..methods.table import ServedMethod
from ..scheduling.pace import LONG
from .host import CallHost
from .invocation import VALUES, Invocation

if TYPE_CHECKING:
    from ..declare.service import Method

# Seconds between two looks at what workers do. Where one has not got on meanwhile, others get the rest of its batch.
LOOK = 0.001

# Seconds for which a greenlet goes on with a batch before the loop does something else.
GREENLET_SLICE = 0.0005


class BatchedCall(Struct, Handling, eq=False):
    """One of them, until it has ended or is scheduled singly."""

    session: Session
    id: int
    batch: Any  # a WorkerBatch
    args: tuple[Any, ...]
    memory: int
    ended: bool = False
    counted: bool = False  # among the calls that have ended, where these are observed

    span = None  # calls that have one are not batched

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
    def deadline(self) -> float | None:  # type: ignore[override] # as nothing sets it
        return self.batch.deadline  # type: ignore[no-any-return]

    def current(self) -> CurrentCall:
        host, session = self.batch.host, self.session
        return CurrentCall(
            self.method.name, self.deadline, {}, session.peer, 0, host.app, host.state, user=session.user
        )

    @property
    def parts(self) -> Iterable[IncomingCall]:
        return (self,)

    def cancel(self) -> None:
        self.args = ()
        self.batch.gave_up(self)

    def abandon(self) -> None:
        self.batch.host.abandon(self)

    def credit(self, items: int) -> None:
        """It is no stream."""

    def item(self, value: Raw) -> None:  # noqa: ARG002
        raise errors.ProtocolError(f"an item for {self.method.name}, which takes none")

    def fail(self, error: errors.CallError) -> None:
        self.batch.host.answer(self, Error(self.id, *errors.to_wire(error)))
        self.cancel()

    def end_input(self) -> None:
        """It has none."""


class BatchHost(CallHost, Protocol):
    """What batches need of the server that handles them, on the serving loop."""

    @property
    def observed(self) -> bool:
        """Whether somebody notes how each call ends."""

    @property
    def watch(self) -> BatchWatch: ...

    def expire_at(self, deadline: float, call: Any) -> None:
        """Have the call told when its time is over."""

    def fail(self, call: Any, error: BaseException) -> None:
        """Answer the call with that, unless nobody waits any more."""

    def single(self, call: BatchedCall) -> Invocation:
        """The same call, of no batch."""

    def batch_over(self, batch: WorkerBatch) -> None:
        """Give back what the batch and its calls hold. They are answered."""


class WorkerBatch(Invocation):
    """Calls of one session. The outcomes are theirs; it is itself never answered."""

    host: BatchHost

    __slots__ = (
        "batched",
        "calls",
        "count",
        "failed",
        "futures",
        "long",
        "ran",
        "running",
        "stuck",
        "todo",
    )

    def __init__(
        self, host: BatchHost, session: Session, served: ServedMethod, deadline: float | None, now: float
    ) -> None:
        super().__init__(host, session, 0, served, (), {}, deadline, None, now)
        self.queue = served.batches
        self.counted = True  # its calls are, one by one
        self.batched: list[BatchedCall] = []
        self.todo = iter(self.batched)  # one step of it is atomic
        self.calls = 0  # that have not been given up
        self.running: BatchedCall | None = None
        self.count = 0  # of its calls, that have begun
        self.long = 0  # of these, that took long
        self.stuck = False
        self.ran: list[tuple[BatchedCall, Any]] = []
        self.failed: list[tuple[BatchedCall, BaseException]] = []
        self.futures: list[tuple[BatchedCall, concurrent.futures.Future[Any]]] = []

    def gave_up(self, call: BatchedCall) -> None:
        """Nobody waits for that call any more."""
        self.calls -= 1
        if call is self.running and self.handle is not None:
            self.handle.cancel()
        if not self.calls and not self.ended:
            self.ended = True
            if not self.held:
                self.host.launcher.given_up(len(self.batched))

    def cancel(self) -> None:
        """Its calls are cancelled singly."""

    def expire(self) -> None:
        """The time of its calls is over."""
        for call in self.batched:
            if not call.ended:
                self._expire(call)
                call.cancel()

    def _expire(self, call: BatchedCall) -> None:
        text = f"{self.method.name} did not finish in time"
        self.host.answer(call, Error(call.id, errors.DeadlineExceeded.code, "", text))

    def begin(self) -> None:
        try:
            self._submit()
            if not self.host.loop.cooperative or self.served.in_thread:
                self.host.watch.add(self)
        except BaseException as error:
            self._over(error)

    def _submit(self) -> None:
        loop = self.host.loop
        self.handle = (loop.run_in_thread if self.served.in_thread else loop.run_in_worker)(self._work)

    def _work(self) -> None:
        """In a worker."""
        host = self.host
        cooperative = host.loop.cooperative and not self.served.in_thread
        if cooperative:
            if not self.count:
                host.launcher.taken(self)
            host.loop.call_soon(self._yielded)
        try:
            over = self._run(GREENLET_SLICE if cooperative else inf)
        except BaseException as error:  # of ringback's own
            host.post(self._over, error)
        else:
            host.post(self._over if over else self._go_on)

    def _run(self, most: float) -> bool:
        """Run calls for so many seconds; True where no more is to be done."""
        end = time.monotonic() + most
        over = None
        while over is None:
            # As soon as a call has set something in its context, the next must not see that.
            context = Context()
            over = context.run(self._run_in, context, end)
        self.running = None
        return over

    def _run_in(self, context: Context, end: float) -> bool | None:
        """The same in that context, which is empty at first; None where it is to be another one."""
        host, method, ran = self.host, self.method, self.ran
        function, generation, checked = method.function, forks.generation, method.result_check is not None
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
                result = function(*args)
                kind = type(result)
                if kind not in VALUES and isinstance(result, concurrent.futures.Future):
                    self.futures.append((call, result))
                else:
                    if checked or kind is not bytes or len(result) >= FRAME_BYTES:
                        result = self.pack(result)
                    ran.append((call, result))
            except BaseException as error:
                host.came_back(method.name, error)
                self.failed.append((call, error))
            if generation != forks.generation:
                host.came_back(method.name)
            now = time.monotonic()
            if now - last >= LONG:
                self.long += 1
            last = now
            if now >= end:
                return False
            if len(context) > 1:
                return None
        return True

    def _go_on(self) -> None:
        """Its greenlet has let others run."""
        try:
            self._submit()
        except BaseException as error:
            self._over(error)

    def _yielded(self) -> None:
        """Its greenlet does something else: it waits in a call, or has ended."""
        if self.running is not None:
            self.dissolve()

    def dissolve(self) -> None:
        """A worker does not get on with it: schedule singly what has not begun."""
        rest, host = list(self.todo), self.host
        self.stuck = True
        if rest:
            del self.batched[-len(rest) :]
        for call in rest:
            single = host.single(call)
            if call.ended:
                single.drop()
            else:
                host.launcher.take(single, self.came)
        host.launcher.sets_aside(self)

    def drop(self) -> None:
        """All its calls were given up."""
        self._over(None)

    def _over(self, error: BaseException | None = None) -> None:
        """On the serving loop: no worker is at it any more. `error`: what kept calls from beginning."""
        if self.context is None:
            return
        host, session = self.host, self.session
        host.watch.discard(self)
        if self.count:
            now = time.monotonic()
            assert self.served.pace is not None
            self.served.pace.ran(self.count, self.long, now, stuck=self.stuck)
        if host.observed:
            for call, result in self.ran:
                host.answer(call, Reply(call.id, result))
        else:
            session.reply_all(self.ran)
        for call, raised in self.failed:
            host.fail(call, raised)
        for call, future in self.futures:
            if not call.ended:
                self.count -= 1  # it counts as the single call that it is now
                self.batched.remove(call)
                future.add_done_callback(host.single(call)._report_future)
        for call in self.batched:
            if call.ended:
                continue
            if error is None:
                self._expire(call)
            else:
                host.fail(call, error)
        self.ended = True
        host.batch_over(self)
        # Its deadline remembers it for a while: keep no result alive, and no cycle.
        self.batched, self.todo, self.ran, self.failed, self.futures = [], iter(()), [], [], []


class BatchWatch:
    """Looks whether threads get on with batches, from time to time while there are any."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        # How many of its calls had begun at the last look; 0 where none ran then.
        self._seen: dict[WorkerBatch, int] = {}
        self._timer: Handle | None = None

    def add(self, batch: WorkerBatch) -> None:
        self._seen[batch] = 0
        if self._timer is None:
            self._timer = self._loop.call_later(LOOK, self._look)

    def discard(self, batch: WorkerBatch) -> None:
        self._seen.pop(batch, None)

    def close(self) -> None:
        self._seen.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        for batch, seen in list(self._seen.items()):
            if batch.running is None:
                continue
            if batch.count == seen:
                del self._seen[batch]
                batch.dissolve()
            else:
                self._seen[batch] = batch.count
        if self._seen:
            self._timer = self._loop.call_later(LOOK, self._look)
