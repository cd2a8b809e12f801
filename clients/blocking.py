"""The code that the blocking styles share: clients for threads and for greenlets.

A style supplies its loop (a `BlockingLoop`), the check of its caller (`_core`), its kind of future
(`_fired_kind`), and the place where callbacks run.
"""

from __future__ import annotations

import atexit
import logging
import weakref
from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import suppress
from functools import partial
from itertools import islice
from types import TracebackType
from typing import Any, Generic, Self, TypeVar, Unpack, cast

from .. import errors
from ..backends.blocking import BlockingLoop, CallerGate
from ..logs.errorlog import log_error
from ..protocol.messages import Notify
from ..protocol.streams import WINDOW
from ..runtime import forks
from .base import Answer, Client
from .callbacks import unseen  # noqa: F401 - its exit handler is registered first, so it runs last
from .calls.fired import Errback
from .calls.maps import AHEAD, Chunks, Row, failures, rows_of
from .calls.results import R
from .calls.streams import Stream, StreamCall
from .calls.traced import sending
from .calls.uploads import SyncUpload
from .connections.core import LAST_CALLS, ClientCore, open_cores
from .conversation.calls import OutgoingCall
from .options import ConnectOptions, seconds_to_close

log = logging.getLogger("ringback.client")

F = TypeVar("F")  # the kind of future of a fired call


class BlockingCall(OutgoingCall):
    """A call whose caller waits at its gate."""

    __slots__ = ("error", "gate", "result")
    gate: CallerGate

    def finish(self, result: Any, error: BaseException | None) -> None:
        self.result = result
        self.error = error
        self.gate.open()

    @property
    def told(self) -> bool:
        return self.gate.opened


class BlockingClient(Client, Generic[F, R]):
    """A client that blocks its caller.

    At the bound of calls in flight, `call` and `fire` wait; inside a callback, `fire` fails with
    ResourceExhausted.
    """

    answers = "blocks"

    def __init__(self, *endpoints: str, **options: Unpack[ConnectOptions]) -> None:
        super().__init__(*endpoints, **options)
        _open.add(self)

    @classmethod
    def run_program(cls, main: Coroutine[Any, Any, None]) -> None:
        with suppress(StopIteration):
            main.send(None)

    def call(self, method: str, /, *args: Any, **kwargs: Any) -> R:
        """Call a method and wait for its result. Raises the classes of `ringback.errors`."""
        core, loop = self._core()
        call = self._outgoing(BlockingCall, method, args, kwargs)
        gate = call.gate = loop.gate()
        try:
            while not self._send(core, loop, call, args, kwargs):
                self._wait_for_room(core, loop, self._time_for_room(call))
            loop.wait(gate)
        except BaseException:
            self._interrupted(core, loop, call)
            raise
        if call.error is not None:
            error, call.error = call.error, None
            try:
                raise error
            finally:
                del error  # or it and this frame would keep each other and the client alive
        result: R = call.result
        return result

    def _send(
        self,
        core: ClientCore,
        loop: Any,
        call: OutgoingCall,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> bool:
        """Send a call whose caller will wait for its reply.
        Returns False at the bound of calls in flight."""
        if core.full:
            return False
        loop.turn(self._start, core, call, args, kwargs)
        return True

    def fire(
        self,
        method: str,
        /,
        *args: Any,
        callback: Callable[[R], object] | None = None,
        errback: Errback | None = None,
        **kwargs: Any,
    ) -> F:
        """Send the call and return its future at once.
        `callback(result)` or `errback(error)` runs exactly once, in the order of the replies, where
        callbacks run."""
        core, loop = self._core()
        call = self._fired(self._fired_kind, method, args, kwargs, callback, errback)
        if errback is not None:
            call.observe()
        while core.full and call.failure is None:
            if self._in_callback():
                self._fail_at_bound(core, call)
            else:
                call.message.timeout = None  # computed anew when the call is sent
                self._wait_for_room(core, loop, None)
        try:
            return self._fire(core, call, args, kwargs)
        except BaseException:
            call.observe()
            self._interrupted(core, loop, call)
            raise

    def map(self, method: str, /, *iterables: Iterable[Any], chunksize: int = 1000) -> Iterator[R]:
        """Call the method for each row of arguments. Returns an iterator of the results, in order.
        As with the built-in `map`, the iterables are read lazily. One message carries `chunksize`
        calls, with the timeout of one call. The error of a call is raised in its place, ends the
        iteration and cancels the rest. Raises TypeError and ValueError."""
        self._check_usable()
        return self._map(method, rows_of(iterables, chunksize), chunksize)

    def _map(self, method: str, rows: Iterator[Row], chunksize: int) -> Iterator[R]:
        pending: deque[Any] = deque()
        parts = Chunks(rows, chunksize)
        try:
            while True:
                for first, some in islice(parts, AHEAD - len(pending)):
                    pending.append(self._fire_rows(method, some, first, chunksize))
                if not pending:
                    if parts.error is not None:
                        raise parts.error
                    return
                outcomes, error = self._outcome(pending[0])
                del pending[0]
                if error is not None:
                    raise error
                if not failures(outcomes):
                    yield from outcomes
                    continue
                for outcome in outcomes:
                    if isinstance(outcome, errors.CallError):
                        raise outcome
                    yield outcome
        finally:
            for future in pending:
                future.cancel()

    def _fire_whole(self, call: Any) -> F:
        core, loop = self._core()
        call.observe()
        try:
            return self._fire(core, call, (), {})
        except BaseException:
            self._interrupted(core, loop, call)
            raise

    @abstractmethod
    def _fire(
        self, core: ClientCore, call: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> F:
        """Send the call, or end it with its failure. Returns its future."""

    def call_all(self, method: str, /, *args: Any, **kwargs: Any) -> list[Answer]:
        """Call each known server once.
        Returns a list of `Answer`: a result or an error for each."""
        self.call("ringback.ping")  # first finds the servers and opens the links
        fired = self._fan_out(method, args, kwargs)
        return [Answer(endpoint, *self._outcome(future)) for endpoint, future in fired]

    @abstractmethod
    def _outcome(self, future: F) -> tuple[Any, BaseException | None]:
        """Wait for a fired call. Returns its result and its error, and does not raise the error."""

    def notify(self, method: str, /, *args: Any, **kwargs: Any) -> None:
        """Send a one-way call."""
        core, loop = self._core()
        note, span = self._note(method, args, kwargs)
        with sending(span):
            loop.turn(self._notify, core, note)

    def _notify(self, core: ClientCore, note: Notify) -> None:
        core.notify(note)

    def stream(self, method: str, /, *args: Any, **kwargs: Any) -> Stream[R]:
        """Iterate over a stream's items; leaving it early (`close`, `with`) cancels the call."""
        core, loop = self._core()
        call = self._outgoing(StreamCall, method, args, kwargs, credit=WINDOW)
        stream = Stream(core, call, loop.gate())
        try:
            loop.turn(self._start, core, call, args, kwargs)
        except BaseException:
            self._interrupted(core, loop, call)
            raise
        return stream

    def ready(self) -> None:
        """Wait until there is room below the bound of calls in flight."""
        self._wait_for_room(*self._core(), None)

    def _wait_for_room(self, core: ClientCore, loop: BlockingLoop, seconds: float | None) -> None:
        gate = loop.gate()
        loop.turn(core.when_room, gate.open, seconds)
        gate.wait()

    def close(self, timeout: float | None = 30.0, *, now: bool = False) -> None:
        """Wait for calls in flight, then end the rest with Cancelled.
        It waits at most `timeout` seconds, and not at all with `now=True`."""
        self._check_closable()
        seconds = seconds_to_close(timeout)
        self._shared.close()
        core = self._shared.core
        if core is not None and self._shared.generation == forks.generation:
            if not core.closed:
                end(core, "the client was closed", 0.0 if now else seconds)
            self._end_callbacks(1.0 if now else seconds)
        _open.discard(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _interrupted(self, core: ClientCore, loop: BlockingLoop, call: OutgoingCall) -> None:
        """Cancel a call that an exception interrupted, perhaps one from a signal handler."""
        loop.mend()
        if core.has(call):
            loop.turn(core.cancel, call, errors.Cancelled(f"{call.method} was interrupted"))
            loop.turn(core.flush)  # other callers may have relied on this call to flush theirs

    def _upload(self, call: OutgoingCall, iterator: Any) -> SyncUpload:
        core = self._shared.core
        assert core is not None
        return SyncUpload(core, cast(BlockingLoop, core.loop), call, iterator)

    @abstractmethod
    def _core(self) -> tuple[ClientCore, BlockingLoop]:
        """The core and its loop, made at first use.
        Raises RuntimeError for a caller that may not use them."""

    @abstractmethod
    def _in_callback(self) -> bool:
        """Whether a callback of this client calls: the next callback would wait for it."""

    @abstractmethod
    def _end_callbacks(self, seconds: float) -> None:
        """Wait for the queued callbacks, at most `seconds`."""


def end(core: ClientCore, message: str, seconds: float) -> None:
    """Close the core once no call is in flight, after `seconds` at the latest. Waits for that."""
    loop = cast(BlockingLoop, core.loop)
    gate = loop.gate()
    loop.turn(core.finish, message, seconds, gate.open)
    if not gate.opened:
        gate.wait()


_open: weakref.WeakSet[BlockingClient[Any, Any]] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    """At interpreter exit, wait for calls in flight as `close` does.
    It does not wait for streams: their readers are gone."""
    last: list[Callable[[], object]] = [
        partial(core.loop.turn, core.cancel_streams) for core in _cores_here()
    ]
    for client in list(_open):
        if client._shared.core is None or not client._shared.core.loop.closed:
            last.append(client.close)
    for function in last:
        _tried(function)
    for core in _cores_here():
        _tried(partial(end, core, "the client was dropped", LAST_CALLS))


def _tried(function: Callable[[], object]) -> None:
    """Run one client's end. Its failure must not keep other clients from ending."""
    try:
        function()
    except Exception as error:
        log_error(log, "client failed to close", error=error)


def _cores_here() -> list[ClientCore]:
    return [
        core for core in open_cores() if isinstance(core.loop, BlockingLoop) and core.loop.is_here
    ]
