"""The client's end of a result stream: an iterator; leaving it early cancels the call."""

from __future__ import annotations

import time
import weakref
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Self

from ... import errors
from ...backends.gates import AsyncGate, Gate
from ...protocol.streams import FIRST, AsyncItems, Items, SlowWindow, SyncItems
from ..connections.core import ClientCore
from ..conversation.calls import OutgoingCall
from .results import R

# Maximum bytes of unread items; beyond it the call ends. Credit counts items: large ones may use
# the credit for small ones.
UNREAD = 64 * 1024 * 1024


class StreamCall(OutgoingCall):
    """A call whose reply is a stream.

    It holds the gate, and so the reader that waits there, but not the stream: a dropped stream is
    collected.
    """

    __slots__ = ("gate", "stream")
    gate: Gate | AsyncGate
    stream: weakref.ref[_Reading]

    def item(self, value: Any, size: int) -> None:
        stream = self.stream()
        if stream is not None:
            stream.receive(value, size)

    def finish(self, result: Any, error: BaseException | None) -> None:  # noqa: ARG002 - a stream has no result
        stream = self.stream()
        if stream is not None:
            stream.ended(error)

    @property
    def told(self) -> bool:
        stream = self.stream()
        return stream is None or stream.over


class _Reading(Items):
    """The items of a call.
    The width of their window follows the largest item that the client has received from the method.
    """

    def __init__(
        self,
        core: ClientCore,
        call: StreamCall,
        gate: Gate | AsyncGate,
    ) -> None:
        super().__init__()
        self._core = core
        self.gate = call.gate = gate
        call.stream = weakref.ref(self)
        self._bound = max(UNREAD, FIRST * core.machine.max_size)
        self._known = core.largest_items.get(call.method, 0)
        self._window = SlowWindow(self._known)
        call.message.credit = call.allowed = self._window.more()
        self.batch = self._window.batch
        self._call = call  # last: if cut before this line, there is no call to cancel

    def receive(self, item: Any, size: int) -> None:
        """Store an item. With too many unread bytes the call ends after the stored items."""
        window = self._window
        wants = window.arrived(size)
        if window.bytes > self._bound:
            text = f"{self._call.method}: its unread items take more than {self._bound:,} bytes"
            self._core.cancel(self._call, errors.ResourceExhausted(text))
            return
        if size > self._known:
            self._known = self._core.largest_items[self._call.method] = size
        if wants:
            self._allow()
        self.items.append(item)  # last: its reader must see the updated window
        self.gate.open()

    def grant(self, items: int) -> None:
        self._core.loop.turn(self._given, items)

    def _given(self, items: int) -> None:
        """The reader has taken `items` items."""
        window = self._window
        window.taken(items)
        self._allow()
        # In a narrower window, all credit may be in items taken but not yet reported: no more would
        # be requested.
        if not (self.over or window.allowed or self.items):
            window.allowed = 1
            self._grant(1)

    def _allow(self) -> None:
        more = self._window.more()
        self.batch = self._window.batch
        if more and not self.over:
            self._grant(more)

    def _grant(self, items: int) -> None:
        self._core.do(self._core.machine.grant, self._call, items, time.monotonic())

    def _give_up(self) -> None:
        self.items.clear()
        if not self.over:
            text = f"{self._call.method} was closed by its reader"
            self._core.loop.turn(self._core.cancel, self._call, errors.Cancelled(text))
        self.error = None

    def __del__(self) -> None:
        """Cancel a stream left by `break`, `return` or an exception."""
        call = getattr(self, "_call", None)
        if call is not None and not self.over:
            self._core.drop(call)


class Stream(_Reading, SyncItems, Generic[R]):
    """The items of one call. Only one thread or greenlet at a time may take them."""

    if TYPE_CHECKING:

        def __next__(self) -> R: ...

    def close(self) -> None:
        """Give up the rest: the server closes its generator."""
        self._give_up()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class AsyncStream(_Reading, AsyncItems, Generic[R]):
    """The items of one call, for coroutines on the client's loop."""

    if TYPE_CHECKING:

        async def __anext__(self) -> R: ...

    async def aclose(self) -> None:
        """Give up the rest: the server closes its generator."""
        self._give_up()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()
