"""The receiving end of a stream, at client or server: queued items, and credit for more.

Each event loop has its own way to wait.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Self

# Maximum items in transit or unread. Once half of them are taken, the receiver asks for as many
# more.
WINDOW = 64

# For streams of large items: items allowed before their size is known, items allowed whatever their
# size, and the target of bytes in transit or unread. The target is two values of the largest
# default size. (With half of it, items of 1 MiB took a tenth longer.)
FIRST, LEAST, WINDOW_BYTES = 4, 2, 32 * 1024 * 1024
# The credit batch of the widest window, and the item size in bytes above which the window is
# narrower.
_HALF, _LARGE = WINDOW // 2, WINDOW_BYTES // WINDOW
# A stream gets at most 1/_SHARE of the bytes free for all streams: the more streams, the less for
# each.
_SHARE = 4


class Window:
    """The credit for items that may be large: many small items, or few large ones.

    The window assumes that the next items are as large as `largest`, the largest of the last few (0
    if unknown). `allowed`: items that may still arrive. `batch`: items to be taken before the
    receiver asks for more. `bytes`: bytes of items that have arrived and may not be taken yet.
    """

    __slots__ = ("_sizes", "allowed", "batch", "bytes", "largest")

    def __init__(self, largest: int = 0) -> None:
        self.allowed = 0
        self.batch = 1
        self.bytes = 0
        self._sizes: deque[int] = deque()  # of arrived items that may not be taken yet
        self.largest = largest

    def arrived(self, size: int) -> bool:
        """Count an arrived item of `size` bytes. Returns whether the window's width may change."""
        self.allowed -= 1
        self.bytes += size
        self._sizes.append(size)
        faded = self.largest >> 3
        self.largest = size if size > faded else faded
        return self.batch < _HALF or size > _LARGE

    def taken(self, items: int) -> int:
        """Discount that number of taken items. Returns their bytes."""
        sizes = self._sizes
        taken = sum([sizes.popleft() for _ in range(items)])
        self.bytes -= taken
        return taken

    def more(self, free: int = _SHARE * WINDOW_BYTES) -> int:
        """Additional items to allow now. `free`: bytes that are free for all streams together."""
        width = min(WINDOW_BYTES, free // _SHARE) // (self.largest or WINDOW_BYTES // FIRST)
        width = min(max(width, LEAST), self._widest())
        self.batch = width // 2
        more = max(0, width - self.allowed - len(self._sizes))
        self.allowed += more
        return more

    def _widest(self) -> int:
        return WINDOW


class SlowWindow(Window):
    """A window that seldom lets large items arrive on the credit for small ones.

    It widens with the number of arrived items, and forgets a large item only after some tens.
    """

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
    """The items that have arrived and are not taken yet.

    `arrived` and `ended` are called where the protocol runs. The consumer may run in another
    thread; it waits at the `gate`, which has `wait` and `open`.
    """

    gate: Any

    def __init__(self) -> None:
        self.items: deque[Any] = deque()
        self.over = False
        self.error: BaseException | None = None
        self.batch = WINDOW // 2  # taken items per call of `grant`
        self._taken = 0

    def arrived(self, item: Any) -> None:
        self.items.append(item)
        self.gate.open()

    def ended(self, error: BaseException | None) -> None:
        """The stream has ended. Only the first call counts."""
        if not self.over:
            self.error = error
            self.over = True
            self.gate.open()

    def grant(self, items: int) -> None:
        """Allow the other end to send `items` more items, if the stream has not ended."""
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
    """Items for `for`."""

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        while True:
            over = self.over  # read first: the last item and the end may arrive in between
            if self.items:
                return self._take()
            if over:
                raise self._ending(StopIteration)
            self.gate.wait()


class AsyncItems(Items):
    """Items for `async for`; the gate's `wait` is a coroutine."""

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
