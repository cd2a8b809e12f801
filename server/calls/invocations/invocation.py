"""One call while it is being handled: how each kind of handler is run, and how its outcome is reported."""

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

# Results of these types are values; only of another type could the loop ask whether it is a future.
VALUES = frozenset({type(None), bool, int, float, str, bytes, list, dict, tuple})
# What others wait for too may be as large as they take.
UNBOUNDED = 1 << 62
_NO_OPTIONS = CallOptions()
T = TypeVar("T")
# What is kept for many calls has no frames of its own.
plain = Unpacker().plain


class InlineBatch(Struct, HandledBatch):
    """What `current_call()` tells in the common case, for the calls of one batch: inline functions whose answers are ready when they
    return, for a caller who does not ask for versions."""

    session: Session
    now: float
    host: Any

    def handling(self, message: Call) -> Handling:
        return Inline(self.session, self.now, self.host, message)


class Inline(Struct, Handling):
    """One of these calls, for those who ask."""

    session: Session
    now: float
    host: Any
    message: Call

    @property
    def deadline(self) -> float | None:  # type: ignore[override] # computed only for those who ask
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
    """One call that is being handled: what `current_call()` tells of, and the state of its handler.

    Interceptors and handler run in its `context`, which is empty at first: what these set, this call alone sees. It is None once the
    call has finished. Where the call has a queue, the dispatcher sets its `priority`, and the scheduler when it `began` and what it
    has `held` since.
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
    flight: Flight[Any] | None = None  # of a `CachedCall`: what others wait for too
    calls: int = 1  # that it is

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
        self.run: KeyedRun | None = None  # of one that is to be run once for its key
        self.memory = 0  # bytes that are counted for it (`memory.py`)
        self.counted = False  # among the calls that have ended, where these are observed
        self.span: HandlingSpan | None = None
        self.held: Needs = ()  # what it has until it gives it back

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
        """Start the handler, on the serving loop; its outcome comes to `host.complete`, also where it cannot be started."""
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
        """It had ended before its handler could begin, or its time was over."""
        if not self.ended:
            self.expire()
        self.drop()

    def expire(self) -> None:
        """Its time is over."""
        self.host.answer(self, out_of_time(self))

    def drop(self) -> None:
        """It had ended before its handler could begin."""
        gone = errors.Cancelled(f"nobody waits for {self.method.name} any more")
        self.host.complete(self, None, gone, ran=False)

    def is_late(self) -> bool:
        """Whether its time is over. (The serving loop may not have come to say so.)"""
        return self.deadline is not None and self.deadline <= time.monotonic()

    def within(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Call the function in the context of this call."""
        return self.own_context.run(self._within, function, args, kwargs)

    def _within(self, function: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any]) -> T:
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
        """Whether its worker is one of the loop's own thread."""
        return self.host.loop.cooperative and not self.served.in_thread

    @property
    def own_context(self) -> Context:
        assert self.context is not None
        return self.context

    def _job(self) -> Job:
        """Itself, for another process, where the lifespan's value is not."""
        call = self.current()
        call.leave_process()
        method = self.method
        left = call.remaining()
        carrier = None if self.span is None else self.span.carrier()
        job = (method.function, self.args, self.kwargs, call, left, self.priority, method.resources)
        return Job(*job, carrier)

    def success(self, result: Any) -> Reply | End:
        """What tells the client that the handler has ended well."""
        return Reply(self.id, result)

    def cancel(self) -> None:
        if self.handle is not None:
            try:
                self.handle.cancel()
            except BaseException as error:  # of what a Deferred of the user's does when it is cancelled
                self.host.complain(self, "raised when it was cancelled", error)
                self._report(None, error)  # nobody else may ever do so
        elif self.queue is not None and not self.held:
            self.host.launcher.given_up()
        if isinstance(self.input, SyncInput):  # a thread cannot be stopped; a coroutine is, where it waits
            self.input.ended(errors.Cancelled(f"{self.method.name} was cancelled"))

    def abandon(self) -> None:
        """What runs once goes on: its client may ask for the result over another connection."""
        if self.run is None:
            self.host.abandon(self)

    def credit(self, items: int) -> None:
        """Only a stream has use for it."""

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
        """The result for the wire. Raises a CallError that says why it cannot be sent, and nothing else."""
        try:
            packed = pack(result, self.session.max_size if self.flight is None else UNBOUNDED)
        except errors.ResourceExhausted as error:
            text = f"the result of {self.method.name} is too large: {error}"
            raise errors.ResourceExhausted(text) from None
        except BaseException as error:
            text = (
                f"the result of {self.method.name} cannot be sent: {errors.described(error)}{_advice(result)}"
            )
            raise errors.RemoteError(errors.name_of(error), text) from None
        if self.method.result_check is not None:
            self.method.result_check(packed)
        return packed

    def _work(self) -> None:
        """In a worker thread or greenlet."""
        host = self.host
        pool = None if self.queue is None else self.queue.pool
        if pool is not None and pool.door is not None:
            host.launcher.taken(self)
        if self.ended or self.is_late():  # cancelled or expired on its way here
            host.post(self.late)
            return
        try:
            # (What is posted from within would find the context still entered, where it runs at once.)
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
        """Whether the handler has a result now, and that; or else the future of it, or None where another call runs for the same key."""
        if self.run is not None:
            there, result = self.run.work(self)
            return there, self._unpacked(result) if there and self.interception else result
        result = self.method.function(*self.args, **self.kwargs)
        if isinstance(result, concurrent.futures.Future):
            return False, result
        return True, result if self.interception else self.pack(result)

    def _unpacked(self, result: Any) -> Any:
        """For interceptors, a result that has been stored."""
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
        """An inline function has returned: a value, or a future of one."""
        if error is None:
            try:
                if type(result) not in VALUES and self._adopted(result):
                    self.served.immediate = (
                        False  # from now on calls of its method are counted before they begin
                    )
                    return
                if not self.interception:
                    result = self.pack(result)
            except (
                BaseException
            ) as raised:  # by a future of the user's own, or for a value that cannot be sent
                result, error = None, raised
        self.host.complete(self, result, error)

    def _adopted(self, result: Any) -> bool:
        """Whether that is a future, whose result will be reported."""
        if isinstance(result, concurrent.futures.Future):
            self.follow(result)
            return True
        self.handle = self.host.loop.adopt(result, self._report_unpacked, self.own_context)
        return self.handle is not None

    def fitting(self, value: Raw) -> Raw:
        """A result that was made for another call. Raises ResourceExhausted where it is more than this caller takes."""
        if len(value) > self.session.max_size:
            raise errors.ResourceExhausted(
                f"the result of {self.method.name} is too large: {len(value):,} bytes are over the limit of {self.session.max_size:,}"
            )
        return value

    def _report(self, result: Any, error: BaseException | None) -> None:
        """The handler has ended, in whatever thread."""
        self.host.post(self.host.complete, self, result, error)

    def _report_unpacked(self, result: Any, error: BaseException | None) -> None:
        if error is None and not self.interception:
            try:
                result = self.pack(result)
            except errors.CallError as unsendable:
                result, error = None, unsendable
        self._report(result, error)

    def follow(self, future: concurrent.futures.Future[Any]) -> None:
        """It ends with what becomes of the future."""
        try:
            future.add_done_callback(self._report_future)
        except BaseException as error:  # of a class of the user's own
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
    """What tells the client of a call that its time is over."""
    return Error(call.id, errors.DeadlineExceeded.code, "", f"{call.method.name} did not finish in time")


def _advice(result: Any) -> str:
    """What to do where a plain function has returned what only a handler of another kind may."""
    if type(result) is CoroutineType:
        result.close()
        return ": a function that returns a coroutine must be `async def`, or inline=True on asyncio"
    if type(result) in (GeneratorType, AsyncGeneratorType):
        return ": a method that streams must be a generator function itself, not a function that returns a generator"
    return ""
