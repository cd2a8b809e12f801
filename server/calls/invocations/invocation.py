"""One call while it is handled: runs each kind of handler, and reports the outcome."""

from __future__ import annotations

import concurrent.futures
import time
from asyncio import CancelledError
from collections.abc import Callable, Iterable, Mapping
from contextvars import Context
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import TYPE_CHECKING, Any, TypeVar

from msgspec import Raw, Struct

from .... import errors
from ....backends.asyncio_thread import leaving
from ....backends.base import Handle
from ....context import CurrentCall
from ....handling import HandledBatch, Handling, handling
from ....interceptors import Interception
from ....protocol.messages import Call, CallOptions, End, Error, Reply
from ....protocol.server import IncomingCall, Session
from ....protocol.values import Unpacker, pack, whole
from ....state.cache import Flight
from ...executors.base import Job
from ...methods.once import KeyedRun
from ...methods.table import ServedMethod
from ...scheduling.resources import Needs
from ..versions import asked, learn
from .host import CallHost
from .inputs import Input, SyncInput

if TYPE_CHECKING:
    from ....tracing.spans import HandlingSpan

# Results of these types are values. Only a result of another type may be a future.
VALUES = frozenset({type(None), bool, int, float, str, bytes, list, dict, tuple})
# A size limit for results that others wait for too: each caller has a limit of its own.
UNBOUNDED = 1 << 62
_NO_OPTIONS = CallOptions()
T = TypeVar("T")
# Decodes stored results, which have no separate frames.
plain = Unpacker().plain


class InlineBatch(Struct, HandledBatch):
    """The data of `current_call()` for a batch of inline calls.

    This is the common case: the result is ready when the function returns, and the caller does not
    ask for versions.
    """

    session: Session
    now: float
    host: Any

    def handling(self, message: Call) -> Handling:
        return Inline(self.session, self.now, self.host, message)


class Inline(Struct, Handling):
    """One call of the batch, built on demand."""

    session: Session
    now: float
    host: Any
    message: Call

    @property
    def deadline(self) -> float | None:  # type: ignore[override] # computed on demand
        timeout = self.message.timeout
        return None if timeout is None else self.now + timeout / 1000

    def current(self) -> CurrentCall:
        options = self.message.options or _NO_OPTIONS
        return CurrentCall(
            self.message.method,
            self.deadline,
            options.metadata,
            self.session.peer,
            options.priority,
            self.host.app,
            self.host.state,
            user=self.session.user,
        )


class Invocation(Handling):
    """One call that is being handled: the data of `current_call()`, and the state of its handler.

    Interceptors and handler run in its `context`, which is empty at first. So only this call sees
    the variables that they set. `context` is None once the call has finished.

    For a call with a queue, the launcher sets `priority`. The scheduler sets when it `began`, and
    the resources that it has `held` since.
    """

    __slots__ = (
        "args",
        "began",
        "came",
        "context",
        "counted",
        "deadline",
        "ended",
        "handle",
        "held",
        "host",
        "id",
        "input",
        "interception",
        "kwargs",
        "memory",
        "method",
        "options",
        "priority",
        "queue",
        "run",
        "served",
        "session",
        "span",
        "versions",
    )

    began: float
    priority: int
    flight: Flight[Any] | None = None  # the shared run of a `CachedCall`
    calls: int = 1  # as how many it counts in the scheduler

    def __init__(
        self,
        host: CallHost,
        session: Session,
        id: int,  # noqa: A002
        served: ServedMethod,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        deadline: float | None,
        options: CallOptions | None,
        came: float,
        context: Context | None = None,
    ) -> None:
        self.session = session
        self.id = id
        self.ended = False
        self.host = host
        self.method = served.method
        self.served = served
        self.queue = served.queue
        self.args = args
        self.kwargs = kwargs
        self.deadline = deadline
        self.options = options
        self.versions = asked(options)
        self.came = came
        self.context: Context | None = Context() if context is None else context
        self.handle: Handle | None = None
        self.interception: Interception | None = None
        self.input: Input | None = None
        self.run: KeyedRun | None = None  # for a call that runs once per key
        self.memory = 0  # bytes counted in flight (`memory.py`)
        self.counted = False  # whether the observer has recorded its end
        self.span: HandlingSpan | None = None
        self.held: Needs = ()  # resources that it holds

    @property
    def parts(self) -> Iterable[IncomingCall]:
        return (self,)

    def current(self) -> CurrentCall:
        options = self.options or _NO_OPTIONS
        return CurrentCall(
            self.method.name,
            self.deadline,
            options.metadata,
            self.session.peer,
            options.priority,
            self.host.app,
            self.host.state,
            None if self.run is None else self.run.open,
            self.versions,
            self.session.user,
        )

    def saw(self, versions: Mapping[str, int]) -> None:
        if self.versions is not None:
            learn(self.versions, versions)

    def begin(self) -> None:
        """Start the handler, on the serving loop.

        `host.complete` gets the outcome, also if the handler cannot be started.
        """
        try:
            self.start()
        except BaseException as error:
            self.host.complete(self, None, error)

    def start(self) -> None:
        host, method = self.host, self.method
        if method.inline:
            self._run_inline()
        elif self.is_late():
            self.late()
        elif method.is_coroutine:
            run = host.loop.run_native if method.native else host.loop.run_coroutine
            self.handle = run(self._await(), self._report, self.own_context)
        elif self.served.executor is not None:
            self.handle = self.served.executor.run(self._job(), self._report_unpacked)
        elif self.served.in_thread:
            self.handle = host.loop.run_in_thread(self._work)
        else:
            self.handle = host.loop.run_in_worker(self._work)

    def late(self) -> None:
        """End a call that was cancelled, or whose deadline passed, before its handler started."""
        if not self.ended:
            self.expire()
        self.drop()

    def expire(self) -> None:
        """Reply that the deadline has passed."""
        self.host.answer(self, out_of_time(self))

    def drop(self) -> None:
        """Release a call that ended before its handler started."""
        gone = errors.Cancelled(f"{self.method.name} ended before its handler started")
        self.host.complete(self, None, gone, ran=False)

    def is_late(self) -> bool:
        """Whether its deadline has passed. The serving loop may not have noticed yet."""
        return self.deadline is not None and self.deadline <= time.monotonic()

    def within(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Call the function in the context of this call."""
        return self.own_context.run(self._within, function, args, kwargs)

    def _within(
        self, function: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> T:
        handling.set(self)
        try:
            result = function(*args, **kwargs)
        except BaseException as error:
            self.host.came_back(self.method.name, error)
            raise
        self.host.came_back(self.method.name)
        return result

    @property
    def in_greenlet(self) -> bool:
        """Whether its worker is a greenlet in the loop's own thread."""
        return self.host.loop.cooperative and not self.served.in_thread

    @property
    def own_context(self) -> Context:
        assert self.context is not None
        return self.context

    def _job(self) -> Job:
        """The call for another process, without the lifespan's value."""
        call = self.current()
        call.leave_process()
        method = self.method
        left = call.remaining()
        carrier = None if self.span is None else self.span.carrier()
        job = (method.function, self.args, self.kwargs, call, left, self.priority, method.resources)
        return Job(*job, carrier)

    def success(self, result: Any) -> Reply | End:
        """The message that reports the handler's success to the client."""
        return Reply(self.id, result)

    def cancel(self) -> None:
        if self.handle is not None:
            try:
                self.handle.cancel()
            except BaseException as error:  # raised by the canceller of a user's Deferred
                self.host.complain(self, "raised when it was cancelled", error)
                self._report(None, error)  # the Deferred may never report
        elif self.queue is not None and not self.held:
            self.host.launcher.given_up()
        if isinstance(self.input, SyncInput):  # cancelling stops a coroutine, but not a thread
            self.input.ended(errors.Cancelled(f"{self.method.name} was cancelled"))

    def abandon(self) -> None:
        """Cancel the call of a disconnected client.

        A call that runs once per key continues, since its client may reconnect and ask for the
        result.
        """
        if self.run is None:
            self.host.abandon(self)

    def credit(self, items: int) -> None:
        """Does nothing: only streams use credit."""

    def item(self, value: Raw) -> None:
        if self.input is None:
            raise errors.ProtocolError(f"an item for {self.method.name}, which takes none")
        try:
            self.input.receive(value)
        except (errors.InvalidArgument, errors.ResourceExhausted) as error:
            self.fail(error)

    def fail(self, error: errors.CallError) -> None:
        self.host.answer(self, Error(self.id, *errors.to_wire(error)))
        self.cancel()

    def end_input(self) -> None:
        if self.input is not None:
            self.input.ended(None)

    def pack(self, result: Any) -> Raw:
        """Pack the result for the wire. Raises only CallError, if the result cannot be sent."""
        try:
            packed = pack(result, self.session.max_size if self.flight is None else UNBOUNDED)
        except errors.ResourceExhausted as error:
            text = f"the result of {self.method.name} is too large: {error}"
            raise errors.ResourceExhausted(text) from None
        except BaseException as error:
            text = (
                f"the result of {self.method.name} cannot be sent: "
                f"{errors.described(error)}{_advice(result)}"
            )
            raise errors.RemoteError(errors.name_of(error), text) from None
        if self.method.result_check is not None:
            self.method.result_check(packed)
        return packed

    def _work(self) -> None:
        """Run the handler, in a worker thread or greenlet."""
        host = self.host
        pool = None if self.queue is None else self.queue.pool
        if pool is not None and pool.door is not None:
            host.launcher.taken(self)
        if self.ended or self.is_late():  # cancelled or expired while it was queued
            host.post(self.late)
            return
        try:
            # Post after `within`: a posted function may run at once, and the context must be free.
            ended, result = self.within(self._called)
            if not ended and self.run is not None:
                host.post(host.launcher.postpone, self, self.run.pause)
            elif not ended:
                if pool is not None:
                    host.post(host.launcher.release_worker, self)
                self.follow(result)
        except BaseException as error:
            self._report(None, error)
        else:
            if ended:
                self._report(result, None)

    def _called(self) -> tuple[bool, Any]:
        """Run the handler. Returns `(True, result)`, or `(False, future)`.

        `(False, None)` if another call runs under the same key.
        """
        if self.run is not None:
            there, result = self.run.work(self)
            return there, self._unpacked(result) if there and self.interception else result
        result = self.method.function(*self.args, **self.kwargs)
        if isinstance(result, concurrent.futures.Future):
            return False, result
        return True, result if self.interception else self.pack(result)

    def _unpacked(self, result: Any) -> Any:
        """Decode a stored result, for interceptors."""
        return plain(Raw(whole(result)))

    async def _await(self) -> Any:
        handling.set(self)
        try:
            if self.run is not None:
                packed = await self.run.work_async(self)
                return self._unpacked(packed) if self.interception else packed
            result = await self.method.function(*self.args, **self.kwargs)
        except BaseException as error:
            self.host.came_back(self.method.name, error)
            if errors.is_a(error, (SystemExit, KeyboardInterrupt)):
                raise leaving(error) from None
            raise
        self.host.came_back(self.method.name)
        return result if self.interception else self.pack(result)

    def _run_inline(self) -> None:
        try:
            result = self.within(self.method.function, *self.args, **self.kwargs)
        except BaseException as error:
            self.returned(None, error)
        else:
            self.returned(result, None)

    def returned(self, result: Any, error: BaseException | None) -> None:
        """Process the outcome of an inline function: a value, a future or an error."""
        if error is None:
            try:
                if type(result) not in VALUES and self._adopted(result):
                    # From now on, calls of its method are counted before they start.
                    self.served.immediate = False
                    return
                if not self.interception:
                    result = self.pack(result)
            except BaseException as raised:  # from a user's future, or an unsendable value
                result, error = None, raised
        self.host.complete(self, result, error)

    def _adopted(self, result: Any) -> bool:
        """Whether the result is a future, whose outcome will be reported."""
        if isinstance(result, concurrent.futures.Future):
            self.follow(result)
            return True
        self.handle = self.host.loop.adopt(result, self._report_unpacked, self.own_context)
        return self.handle is not None

    def fitting(self, value: Raw) -> Raw:
        """A result of another call, for this one.

        Raises ResourceExhausted if it exceeds this caller's size limit.
        """
        if len(value) > self.session.max_size:
            raise errors.ResourceExhausted(
                f"the result of {self.method.name} is too large: "
                f"{len(value):,} bytes are over the limit of {self.session.max_size:,}"
            )
        return value

    def _report(self, result: Any, error: BaseException | None) -> None:
        """Report the handler's outcome. Thread-safe."""
        self.host.post(self.host.complete, self, result, error)

    def _report_unpacked(self, result: Any, error: BaseException | None) -> None:
        if error is None and not self.interception:
            try:
                result = self.pack(result)
            except errors.CallError as unsendable:
                result, error = None, unsendable
        self._report(result, error)

    def follow(self, future: concurrent.futures.Future[Any]) -> None:
        """Finish the call with the outcome of a future."""
        try:
            future.add_done_callback(self._report_future)
        except BaseException as error:  # raised by a user's class
            self._report(None, error)

    def _report_future(self, future: concurrent.futures.Future[Any]) -> None:
        try:
            result = future.result(0)
        except concurrent.futures.CancelledError:
            self._report_unpacked(None, CancelledError())
        except BaseException as error:
            self._report_unpacked(None, error)
        else:
            self._report_unpacked(result, None)


def out_of_time(call: Any) -> Error:
    """The error that reports a missed deadline to the client."""
    return Error(
        call.id, errors.DeadlineExceeded.code, "", f"{call.method.name} did not finish in time"
    )


def _advice(result: Any) -> str:
    """A remedy for the error message, if a plain function returned a coroutine or a generator."""
    if type(result) is CoroutineType:
        result.close()
        return (
            ": a function that returns a coroutine must be `async def`, or inline=True on asyncio"
        )
    if type(result) in (GeneratorType, AsyncGeneratorType):
        return (
            ": a method that streams must be a generator function itself, "
            "not a function that returns a generator"
        )
    return ""
