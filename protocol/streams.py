"""The receiving end of a stream, at client or server: items as they come, and credit for more as they are taken. How to wait is
each loop's own."""

from __future__ import annotations

from collections import deque
from typing import Any, Self

# Items that may be on their way or unread; half of them taken, and so many more are asked for.
WINDOW = 64


class Items:
    """What has come and was not taken. `arrived` and `ended` are called where the protocol runs; who takes the items may be elsewhere,
    and waits at the `gate`, which has `wait` and `open`."""

    gate: Any

    def __init__(self) -> None:
        self.items: deque[Any] = deque()
        self.over = False
        self.error: BaseException | None = None
        self._taken = 0

    def arrived(self, item: Any) -> None:
        self.items.append(item)
        self.gate.open()

    def ended(self, error: BaseException | None) -> None:
        """There are no more; only the first of several ends counts."""
        if not self.over:
            self.error = error
            self.over = True
            self.gate.open()

    def grant(self, items: int) -> None:
        """Let the other end send so many more."""
        raise NotImplementedError

    def _take(self) -> Any:
        item = self.items.popleft()
        self._taken += 1
        if self._taken >= WINDOW // 2 and not self.over:
            taken, self._taken = self._taken, 0
            self.grant(taken)
        return item

    def _ending(self, end: type[Exception]) -> BaseException:
        error, self.error = self.error, None
        return error if error is not None else end()


class SyncItems(Items):
    """For `for`."""

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        while True:
            over = self.over  # looked at first: the last item and the end may come between two looks
            if self.items:
                return self._take()
            if over:
                raise self._ending(StopIteration)
            self.gate.wait()


class AsyncItems(Items):
    """For `async for`; what the gate's `wait` returns is awaited."""

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        while True:
            over = self.over  # as above
            if self.items:
                return self._take()
            if over:
                raise self._ending(StopAsyncIteration)
            await self.gate.wait()
