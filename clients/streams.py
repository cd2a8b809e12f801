"""What a client reads of a stream: to be iterated over, and to be left early, which cancels the call."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

from .. import errors
from ..backends.gates import AsyncGate, Gate
from ..protocol.calls import OutgoingCall
from ..protocol.streams import AsyncItems, Items, SyncItems
from .core import ClientCore


class StreamCall(OutgoingCall):
    """A call whose answer is a stream."""

    __slots__ = ("stream",)
    stream: Items

    def item(self, value: Any) -> None:
        self.stream.arrived(value)

    def finish(self, result: Any, error: BaseException | None) -> None:  # noqa: ARG002 - a stream has no result
        self.stream.ended(error)

    @property
    def told(self) -> bool:
        return self.stream.over


class _Reading(Items):
    """Items of a call."""

    def __init__(
        self,
        core: ClientCore,
        call: StreamCall,
        gate: Gate | AsyncGate,
    ) -> None:
        super().__init__()
        self._core = core
        self._call = call
        self.gate = gate
        call.stream = self

    def grant(self, items: int) -> None:
        if not self.over:
            self._core.loop.turn(self._core.grant, self._call, items)

    def _give_up(self) -> None:
        self.items.clear()
        if not self.over:
            text = f"{self._call.method} was closed by its reader"
            self._core.loop.turn(self._core.cancel, self._call, errors.Cancelled(text))
        self.error = None


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
