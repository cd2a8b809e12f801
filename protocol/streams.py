"""The receiving end of a stream, at client or server: items as they come, and credit for more as they are taken. How to wait is
each loop's own."""

from __future__ import annotations

from collections import deque
from typing import Any, Self

# Items that may be on their way or unread; half of them taken, and so many more are asked for.
WINDOW = 64

# Where items may be large: as many as can come before their size is known, as many as can however large they are, and the bytes that
# are to be on their way or unread: two of the largest values there are by default. (With half of it, items of 1 MiB took a tenth longer.)
FIRST, LEAST, WINDOW_BYTES = 4, 2, 32 * 1024 * 1024
# A batch of the widest window, and the bytes of an item from which on it has not that width.
_HALF, _LARGE = WINDOW // 2, WINDOW_BYTES // WINDOW
# Of what is free for all streams together, one gets this part at most: the more of them there are, the less has each.
_SHARE = 4


class Window:
    """The credit for items that may be large: many small ones, or few large ones. Those to come are taken to be as large as the largest
    of the last few, which is `largest` at first, 0 where that is not known. `allowed` may still come; so many as a `batch` taken, and more
    are to be asked for; `bytes` have come and are not known to be taken."""

    __slots__ = ("_sizes", "allowed", "batch", "bytes", "largest")

    def __init__(self, largest: int = 0) -> None:
        self.allowed = 0
        self.batch = 1
        self.bytes = 0
        self._sizes: deque[int] = deque()  # of those that have come and are not known to be taken
        self.largest = largest

    def arrived(self, size: int) -> bool:
        """An item of so many bytes has come. Whether the window may have another width by that."""
        self.allowed -= 1
        self.bytes += size
        self._sizes.append(size)
        faded = self.largest >> 3
        self.largest = size if size > faded else faded
        return self.batch < _HALF or size > _LARGE

    def taken(self, items: int) -> int:
        """So many have been taken: their bytes."""
        sizes = self._sizes
        taken = sum([sizes.popleft() for _ in range(items)])
        self.bytes -= taken
        return taken

    def more(self, free: int = _SHARE * WINDOW_BYTES) -> int:
        """How many more items are allowed from now on, where so many bytes are free for all streams."""
        width = min(WINDOW_BYTES, free // _SHARE) // (self.largest or WINDOW_BYTES // FIRST)
        width = min(max(width, LEAST), self._widest())
        self.batch = width // 2
        more = max(0, width - self.allowed - len(self._sizes))
        self.allowed += more
        return more

    def _widest(self) -> int:
        return WINDOW


class SlowWindow(Window):
    """One that takes care that large items seldom come on the credit for small ones: it widens with the number of items that have come, and
    forgets a large one only after some tens."""

    __slots__ = ("_come",)

    def __init__(self, largest: int = 0) -> None:
        super().__init__(largest)
        self._come = WINDOW if largest else 0

    def arrived(self, size: int) -> bool:
        self.allowed -= 1
        self.bytes += size
        self._sizes.append(size)
        faded = self.largest
        faded -= faded >> 4
        self.largest = size if size > faded else faded
        if self._come < WINDOW:
            self._come += 1
            return True
        return self.batch < _HALF or size > _LARGE

    def _widest(self) -> int:
        return min(max(FIRST, 1 << self._come.bit_length()), WINDOW)


class Items:
    """What has come and was not taken. `arrived` and `ended` are called where the protocol runs; who takes the items may be elsewhere,
    and waits at the `gate`, which has `wait` and `open`."""

    gate: Any

    def __init__(self) -> None:
        self.items: deque[Any] = deque()
        self.over = False
        self.error: BaseException | None = None
        self.batch = WINDOW // 2  # items that are taken before `grant` is told
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
        """So many have been taken: let the other end send as many more, if it has not ended."""
        raise NotImplementedError

    def _take(self) -> Any:
        item = self.items.popleft()
        self._taken += 1
        if self._taken >= self.batch:
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
