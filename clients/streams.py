"""The receiving end of a stream: items as they come, and credit for more as they are taken. How to wait is each style's own."""

from __future__ import annotations

from collections import deque
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import Any, Self

from .. import errors
from ..protocol.client import OutgoingCall
from .core import ClientCore

# Items that may be on their way or unread; half of them taken, and so many more are asked for.
WINDOW = 64


class StreamCall(OutgoingCall):
    """A call whose answer is a stream."""

    __slots__ = ("stream",)
    stream: Items

    def item(self, value: Any) -> None:
        self.stream.items.append(value)
        self.stream.wake()

    def finish(self, result: Any, error: BaseException | None) -> None:  # noqa: ARG002 - a stream has no result
        self.stream.over = True
        self.stream.error = error
        self.stream.wake()


class Items:
    """What has come and was not taken; `guard` is held around what touches the core."""

    guard: AbstractContextManager[Any] = nullcontext()

    def __init__(self, core: ClientCore, call: StreamCall) -> None:
        self.items: deque[Any] = deque()
        self.over = False
        self.error: BaseException | None = None
        self._core = core
        self._call = call
        self._taken = 0
        call.stream = self

    def wake(self) -> None:
        """Something has come."""
        raise NotImplementedError

    def _take(self) -> Any:
        item = self.items.popleft()
        self._taken += 1
        if self._taken >= WINDOW // 2 and not self.over:
            with self.guard:
                self._core.grant(self._call, self._taken)
            self._taken = 0
        return item

    def _ending(self, end: type[Exception]) -> BaseException:
        error, self.error = self.error, None
        return error if error is not None else end()

    def _give_up(self) -> None:
        self.items.clear()
        with self.guard:
            if not self.over:
                text = f"{self._call.method} was closed by its reader"
                self._core.cancel(self._call, errors.Cancelled(text))
        self.error = None


class SyncItems(Items):
    """For `for`; to be left early by `close` or `with`, which cancels the call."""

    def wait(self) -> None:
        """Return when something may have come."""
        raise NotImplementedError

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        while not self.items:
            if self.over:
                raise self._ending(StopIteration)
            self.wait()
        return self._take()

    def close(self) -> None:
        """Give up the rest: the server's generator is closed."""
        self._give_up()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncItems(Items):
    """For `async for`; to be left early by `aclose` or `async with`, which cancels the call."""

    async def wait(self) -> None:
        """Return when something may have come."""
        raise NotImplementedError

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        while not self.items:
            if self.over:
                raise self._ending(StopAsyncIteration)
            await self.wait()
        return self._take()

    async def aclose(self) -> None:
        """Give up the rest: the server's generator is closed."""
        self._give_up()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()
