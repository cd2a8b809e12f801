"""Gates: how a producer or a consumer of a stream waits for the other end.

`open` lets one `wait` return, the current one or the next. Several `open` calls before it count as
one. So the waiting code checks by itself whether there is work for it, and waits again if not.
"""

from __future__ import annotations

from typing import Protocol

from . import native


class Gate(Protocol):
    """A gate for code that may block where it runs."""

    def wait(self) -> None: ...

    def open(self) -> None: ...


class AsyncGate(Protocol):
    """A gate for coroutines."""

    async def wait(self) -> None: ...

    def open(self) -> None: ...


class ThreadGate:
    """A gate for one native thread. One other thread opens it."""

    def __init__(self) -> None:
        self._shut = native.allocate_lock()
        self._shut.acquire()

    def wait(self) -> None:
        self._shut.acquire()

    def open(self) -> None:
        if self._shut.locked():
            self._shut.release()
