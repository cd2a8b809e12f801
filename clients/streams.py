"""What a client reads of a stream: to be iterated over, and to be left early, which cancels the call."""

from __future__ import annotations

import weakref
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import Any, Self

from .. import errors
from ..backends.gates import AsyncGate, Gate
from ..protocol.calls import OutgoingCall
from ..protocol.streams import AsyncItems, Items, SyncItems
from .core import ClientCore


class StreamCall(OutgoingCall):
    """A call whose answer is a stream.

    It holds the gate, and so the reader that waits there, but not the stream: one that nobody has any more is collected.
    """

    __slots__ = ("gate", "stream")
    gate: Gate | AsyncGate
    stream: weakref.ref[Items]

    def item(self, value: Any) -> None:
        stream = self.stream()
        if stream is not None:
            stream.arrived(value)

    def finish(self, result: Any, error: BaseException | None) -> None:  # noqa: ARG002 - a stream has no result
        stream = self.stream()
        if stream is not None:
            stream.ended(error)


class _Reading(Items):
    """Items of a call; `guard` is held around what touches the core."""

    def __init__(
        self,
        core: ClientCore,
        call: StreamCall,
        gate: Gate | AsyncGate,
        guard: AbstractContextManager[Any] | None = None,
    ) -> None:
        super().__init__()
        self._core = core
        self._call = call
        self.gate = call.gate = gate
        self._guard = guard if guard is not None else nullcontext()
        call.stream = weakref.ref(self)

    def grant(self, items: int) -> None:
        if not self.over:
            with self._guard:
                self._core.grant(self._call, items)

    def _give_up(self) -> None:
        self.items.clear()
        with self._guard:
            if not self.over:
                text = f"{self._call.method} was closed by its reader"
                self._core.cancel(self._call, errors.Cancelled(text))
        self.error = None

    def __del__(self) -> None:
        """Left by `break`, `return` or an exception: nobody can read on."""
        if not self.over:
            self._core.drop(self._call)


class Stream(_Reading, SyncItems):
    """The items of one call, as they come. One thread or greenlet at a time may take them."""

    def close(self) -> None:
        """Give up the rest: the server's generator is closed."""
        self._give_up()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncStream(_Reading, AsyncItems):
    """The items of one call, as they come, for coroutines on the client's loop."""

    async def aclose(self) -> None:
        """Give up the rest: the server's generator is closed."""
        self._give_up()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()
