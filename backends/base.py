"""What the cores of server and client need from an event loop; a fifth loop implements this and nothing else, or `BlockingLoop` of
`blocking.py` where callers wait on it.

Everything but `call_soon_threadsafe` and the `report` functions handed out is called on the loop's own thread. `report(value,
error)` ends one piece of work: it is called once, from any thread.
"""

from __future__ import annotations

import signal
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, ClassVar, Protocol, TypeVar

from .gates import AsyncGate, Gate, ThreadGate

T = TypeVar("T")
Report = Callable[[Any, BaseException | None], None]
# Starts a server, and reports when it answers calls (None), or the error that keeps it from that.
Begin = Callable[[Callable[[BaseException | None], object]], object]
# Ends it, and reports whether it has answered all that it had accepted.
Drain = Callable[[Callable[[bool], object]], object]


class Handle(Protocol):
    """Something that may be called off: a timer, a watch, a running handler."""

    def cancel(self) -> object: ...


class Loop(ABC):
    """One event loop, as the cores see it."""

    name: ClassVar[str]
    cooperative: ClassVar[bool] = False  # whether `run_in_worker` is on the loop's own thread
    # Whether to cancel a watch in a forked child would cancel the parent's.
    shares_watches: ClassVar[bool] = True
    # The statement that enters a server on this loop in a running program, "" where none does; and what does, for people.
    entered_with: ClassVar[str] = ""
    entered_by: ClassVar[str] = "serve()"
    service: ClassVar[type | None] = None  # a class that servers on it are of, too
    always_runs: bool = True  # whether what is due is done when nobody waits for it
    whole: bool = True  # whether no turn was cut, nor is being taken
    workers: int  # how much `run_in_worker` runs at once
    threads: int  # the same of `run_in_thread`

    @property
    def closed(self) -> bool:
        """Whether it will never run again, and takes nothing more."""
        return False

    @abstractmethod
    def watch(self, fd: int, ready: Callable[[], object]) -> Handle:
        """Call `ready` when the descriptor becomes readable (it may do so more often). Cancel before closing the descriptor."""

    @abstractmethod
    def watch_writable(self, fd: int, ready: Callable[[], object]) -> Handle:
        """Call `ready` as long as the descriptor takes something, or when it has failed. One that is watched for reading too has one watch
        of each kind. Cancel before closing the descriptor."""

    @abstractmethod
    def call_soon(self, function: Callable[..., object], *args: Any) -> None:
        """Call the function in the loop's next turn, before it waits."""

    def call_after_poll(self, function: Callable[[], object]) -> None:
        """Call the function in a later turn of the loop, which has polled its descriptors before."""
        self.call_soon(function)

    @abstractmethod
    def call_later(self, seconds: float, function: Callable[..., object], *args: Any) -> Handle: ...

    @abstractmethod
    def call_soon_threadsafe(self, function: Callable[..., object], *args: Any) -> None: ...

    @abstractmethod
    def run_in_worker(self, work: Callable[[], object]) -> Handle | None:
        """Run `work`, which never raises and reports for itself, where it may block without blocking the loop.

        It always runs, cancelled or not, so that it can report. What cancelling can do, where there is a handle, is to raise
        GreenletExit in it once it has begun; a thread cannot be stopped.
        """

    def run_in_thread(self, work: Callable[[], object]) -> Handle | None:
        """`run_in_worker`, in a native thread whatever the loop."""
        return self.run_in_worker(work)

    def worker_is_fresh(self) -> bool:
        """Where workers are `cooperative`, in one of them: whether it may go on with another call, as it has not waited since it began its
        piece of work, and nothing that the call has left behind refers to it."""
        return True

    def worker_gate(self) -> Gate:
        """Where the work that `run_in_worker` runs can wait."""
        return ThreadGate()

    @abstractmethod
    def run_coroutine(self, coroutine: Coroutine[Any, Any, Any], report: Report, context: Context) -> Handle:
        """Run an asyncio coroutine on the asyncio loop of this backend, in that context. Cancelling raises CancelledError in it. It
        does not raise what would end the loop (SystemExit, KeyboardInterrupt)."""

    def adopt(self, value: object, report: Report, context: Context) -> Handle | None:  # noqa: ARG002 - for subclasses
        """Report what this loop's own kind of future becomes (an awaitable, awaited in that context, or a Deferred); None if it is
        not one."""
        return None

    def mend(self) -> None:
        """Where a turn was cut, give up all that the loop is for."""
        assert self.whole  # the loops whose turns may be cut have their own

    def turn(self, function: Callable[..., T], *args: Any) -> T:
        """Call the function, which touches the core of a client, where that may be done."""
        return function(*args)

    def outside(self, function: Callable[..., T], *args: Any) -> T:
        """Call a function of the user's from within a turn: it may take turns of its own."""
        return function(*args)

    def may_be_cut(self) -> bool:
        """Whether what is raised here may come from the handler of a signal, between any two steps, and is for who uses this loop."""
        return False

    def forget(self) -> None:  # noqa: B027 - most loops are cut by nobody
        """Watch nothing any more, and call nothing that is to be called soon: what these belong to was cut half-way."""

    def run_native(self, coroutine: Coroutine[Any, Any, Any], report: Report, context: Context) -> Handle:
        """Run a coroutine that awaits this loop's own kind of future (`native=True`)."""
        return self.run_coroutine(coroutine, report, context)

    def native_gate(self) -> AsyncGate:
        """Where the coroutine that `run_native` runs can wait."""
        from .asyncio_gate import AsyncioGate  # which loads asyncio

        return AsyncioGate()

    def enter(self, begin: Begin) -> None:
        """Start a server in a running program, in the background. Returns when it answers calls; raises what keeps it from that."""
        raise NotImplementedError

    def leave(self, drain: Drain) -> None:
        """End it. Returns when it has ended."""
        raise NotImplementedError

    async def enter_async(self, begin: Begin) -> None:
        """`enter`, on a loop that runs."""
        raise NotImplementedError

    async def leave_async(self, drain: Drain) -> None:
        """`leave`, on that loop."""
        raise NotImplementedError

    @abstractmethod
    def run(self, start: Callable[[], object]) -> None:
        """Run the loop in the foreground: call `start`, and return after `stop`."""

    @abstractmethod
    def stop(self) -> None:
        """End `run`. To be called on the loop's thread."""

    @abstractmethod
    def close(self) -> None:
        """Let go of worker threads; those that still run a handler end when it returns."""

    def come_back(self, function: Callable[[], object]) -> None:
        """In the child of a handler: call the function, and nothing else, where the handler lets the loop go on."""
        self.call_soon(function)

    def on_signal(self, number: signal.Signals, function: Callable[[], object]) -> None:
        """Call the function on the loop when the process gets the signal; for `run` in the main thread."""
        signal.signal(number, lambda *_: self.call_soon_threadsafe(function))
