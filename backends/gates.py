"""Places to wait until somebody says go on: how those who take or give the items of a stream wait for its other end.

`open` lets one `wait` through, the one that waits or the next to come; several before it count as one. So whoever waits looks for
himself whether there is something for him, and waits again if not.
"""

from __future__ import annotations

from typing import Protocol

from . import native


class Gate(Protocol):
    """For what may block where it runs."""

    def wait(self) -> None: ...

    def open(self) -> None: ...


class AsyncGate(Protocol):
    """For coroutines."""

    async def wait(self) -> None: ...

    def open(self) -> None: ...


class ThreadGate:
    """For one thread of the operating system. Opened from one other thread."""

    def __init__(self) -> None:
        self._shut = native.allocate_lock()
        self._shut.acquire()

    def wait(self) -> None:
        self._shut.acquire()

    def open(self) -> None:
        if self._shut.locked():
            self._shut.release()
