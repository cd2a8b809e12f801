"""The code that the styles for asyncio and for Twisted share: clients that never block.

A style supplies its loop, the check of its caller (`_core`), its kind of future, and the awaitable
that wraps a coroutine for its callers (`_awaitable`).
"""

from __future__ import annotations

from abc import abstractmethod
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Iterator
from itertools import islice
from types import TracebackType
from typing import Any, ClassVar, Generic, Literal, Self, TypeVar

from .. import errors
from ..protocol.streams import WINDOW
from .base import Answer, Client
from .calls.fired import Errback
from .calls.maps import AHEAD, Chunks, Row, failures, rows_of
from .calls.results import R
from .calls.streams import AsyncStream, StreamCall
from .calls.traced import sending
from .calls.uploads import AsyncUpload
from .connections.core import ClientCore
from .conversation.calls import OutgoingCall
from .options import seconds_to_close

F = TypeVar("F")  # the kind of future of a fired call


class AwaitingClient(Client, Generic[F, R]):
    """A client that never blocks its loop.

    At the bound of calls in flight, `call` waits and `fire` fails with ResourceExhausted; pace it
    with `await client.ready()`.
    """

    answers: ClassVar[Literal["awaits", "defers"]] = "awaits"
    future = "collections.abc:Awaitable"

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
        `callback(result)` or `errback(error)` runs once, on the loop."""
        core = self._core()
        call = self._fired(self._fired_kind, method, args, kwargs, callback, errback)
        if core.full and call.failure is None:
            self._fail_at_bound(core, call)
        future = self._future(core, call)
        if call.failure is None:
            self._start(core, call, args, kwargs)
        else:
            core.loop.call_soon(call.finish, None, call.failure)
        return future

    def map(self, method: str, /, *iterables: Iterable[Any], chunksize: int = 1000) -> Any:
        """Call the method for each row of arguments.
        Gives an async iterator of the results, in order. The iterables are read lazily. One message
        carries `chunksize` calls, with the timeout of one call. The error of a call is raised in
        its place, ends the iteration and cancels the rest. Raises TypeError and ValueError."""
        return self._map(method, rows_of(iterables, chunksize), chunksize)

    async def _map(self, method: str, rows: Iterator[Row], chunksize: int) -> AsyncIterator[R]:
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
                outcomes = await pending.popleft()
                failed = failures(outcomes)
                for outcome in outcomes:
                    if failed and isinstance(outcome, errors.CallError):
                        raise outcome
                    yield outcome
        finally:
            for future in pending:
                future.cancel()

    def _fire_whole(self, call: Any) -> F:
        core = self._core()
        future = self._future(core, call)
        self._start(core, call, (), {})
        return future

    def call_all(self, method: str, /, *args: Any, **kwargs: Any) -> Any:
        """Call each known server once. Gives a list of `Answer`: a result or an error for each."""
        return self._awaitable(self._call_all(method, args, kwargs))

    async def _call_all(
        self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> list[Answer]:
        await self.call("ringback.ping")  # first finds the servers and opens the links
        fired = self._fan_out(method, args, kwargs)
        outcomes = await self._outcomes([future for _, future in fired])
        return [
            Answer(endpoint, None, outcome)
            if isinstance(outcome, BaseException)
            else Answer(endpoint, outcome, None)
            for (endpoint, _), outcome in zip(fired, outcomes, strict=True)
        ]

    @abstractmethod
    def _outcomes(self, futures: list[Any]) -> Awaitable[list[Any]]:
        """Wait for fired calls, and cancel them if this is cancelled.
        Gives the result or the error of each."""

    def notify(self, method: str, /, *args: Any, **kwargs: Any) -> None:
        """Send a one-way call."""
        note, span = self._note(method, args, kwargs)
        with sending(span):
            self._core().notify(note)

    def stream(self, method: str, /, *args: Any, **kwargs: Any) -> AsyncStream[R]:
        """The items of a stream, as an async iterator for coroutines of this loop.
        Leaving it early (`aclose`, `async with`) cancels the call."""
        core = self._core()
        call = self._outgoing(StreamCall, method, args, kwargs, credit=WINDOW)
        stream = AsyncStream(core, call, core.loop.native_gate())
        self._start(core, call, args, kwargs)
        return stream

    def ready(self) -> Any:
        """Wait until there is room below the bound of calls in flight."""
        return self._awaitable(self._wait_for_room(self._core(), None))

    async def _wait_for_room(self, core: ClientCore, seconds: float | None) -> None:
        gate = core.loop.native_gate()
        core.when_room(gate.open, seconds)
        await gate.wait()

    def close(self, timeout: float | None = 30.0, *, now: bool = False) -> Any:
        """Wait for calls in flight, then end the rest with Cancelled.
        It waits at most `timeout` seconds, and not at all with `now=True`."""
        self._check_closable()
        return self._awaitable(self._close(0.0 if now else seconds_to_close(timeout)))

    async def _close(self, seconds: float) -> None:
        self._check_loop()
        self._shared.close()
        core = self._shared.core
        if core is not None and not core.closed:
            gate = core.loop.native_gate()
            core.finish("the client was closed", seconds, gate.open)
            await gate.wait()

    async def __aenter__(self) -> Self:
        self._core()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    def _upload(self, call: OutgoingCall, iterator: Any) -> AsyncUpload:
        assert self._shared.core is not None
        return AsyncUpload(self._shared.core, call, iterator)

    @abstractmethod
    def _core(self) -> ClientCore:
        """The core, made at first use. Raises RuntimeError for a caller that may not use it."""

    @abstractmethod
    def _future(self, core: ClientCore, call: Any) -> F:
        """The future of a fired call."""

    @abstractmethod
    def _awaitable(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """The awaitable for the callers of this style."""

    def _check_loop(self) -> None:
        """Raises RuntimeError if the caller runs on another loop than the client."""
