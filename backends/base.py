"""The interface that the cores of server and client need from an event loop.

A fifth event loop implements `Loop` and nothing else, or `BlockingLoop` of `blocking.py` if callers
wait on it. All methods but `call_soon_threadsafe`, and the `report` functions handed out, are
called on the loop's own thread. `report(value, error)` ends one piece of work; it is called once,
from any thread.
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
# Starts a server. Reports None when it answers calls, or the error that prevents it.
Begin = Callable[[Callable[[BaseException | None], object]], object]
# Drains the server. Reports whether it has answered all accepted calls.
Drain = Callable[[Callable[[bool], object]], object]


class Handle(Protocol):
    """Something that can be cancelled: a timer, a watch, a running handler."""

    def cancel(self) -> object: ...


class Loop(ABC):
    """The interface of one event loop."""

    name: ClassVar[str]
    cooperative: ClassVar[bool] = False  # whether workers run on the loop's own thread
    # Whether cancelling a watch in a forked child cancels the parent's watch too.
    shares_watches: ClassVar[bool] = True
    # The statement that starts an embedded server on this loop ("" if there is none), and the text
    # that names it in error messages.
    entered_with: ClassVar[str] = ""
    entered_by: ClassVar[str] = "serve()"
    service: ClassVar[type | None] = None  # an additional base class of servers on this loop
    always_runs: bool = True  # whether timers and callbacks run while no caller waits
    whole: bool = True  # False during a turn, and after a turn that was cut
    workers: int  # maximum of concurrent work in `run_in_worker`
    threads: int  # maximum of concurrent work in `run_in_thread`

    @property
    def closed(self) -> bool:
        """Whether the loop will never run again and accepts no more work."""
        return False

    @abstractmethod
    def watch(self, fd: int, ready: Callable[[], object]) -> Handle:
        """Call `ready` when the descriptor becomes readable; extra calls are allowed.

        Cancel before closing the descriptor.
        """

    @abstractmethod
    def watch_writable(self, fd: int, ready: Callable[[], object]) -> Handle:
        """Call `ready` as long as the descriptor is writable, or when it has failed.

        A descriptor may have one watch of each kind. Cancel before closing the descriptor.
        """

    @abstractmethod
    def call_soon(self, function: Callable[..., object], *args: Any) -> None:
        """Call the function in the loop's next turn, before the loop waits."""

    def call_after_poll(self, function: Callable[[], object]) -> None:
        """Call the function in a later turn of the loop, after it has polled its descriptors."""
        self.call_soon(function)

    @abstractmethod
    def call_later(self, seconds: float, function: Callable[..., object], *args: Any) -> Handle: ...

    @abstractmethod
    def call_soon_threadsafe(self, function: Callable[..., object], *args: Any) -> None: ...

    @abstractmethod
    def run_in_worker(self, work: Callable[[], object]) -> Handle | None:
        """Run `work` in a worker, where it may block without blocking the loop.

        `work` never raises and reports its own outcome, so it always runs, even if cancelled. If
        there is a handle, cancelling raises GreenletExit in work that has begun; a thread cannot be
        stopped.
        """

    def run_in_thread(self, work: Callable[[], object]) -> Handle | None:
        """As `run_in_worker`, but in a native thread on every loop."""
        return self.run_in_worker(work)

    def worker_is_fresh(self) -> bool:
        """On a `cooperative` loop, in a worker: whether the worker may run another call.

        It may if it has not waited since its piece of work began, and if the call has left no
        reference to it behind.
        """
        return True

    def worker_gate(self) -> Gate:
        """A gate for work that runs in `run_in_worker`."""
        return ThreadGate()

    @abstractmethod
    def run_coroutine(
        self, coroutine: Coroutine[Any, Any, Any], report: Report, context: Context
    ) -> Handle:
        """Run an asyncio coroutine on the asyncio loop of this backend, in the context.

        Cancelling raises CancelledError in it. The coroutine never raises what would end the loop
        (SystemExit, KeyboardInterrupt).
        """

    def adopt(self, value: object, report: Report, context: Context) -> Handle | None:  # noqa: ARG002
        """Report the outcome of this loop's own kind of future; return None for any other value.

        The kinds are an awaitable, which is awaited in the context, and a Deferred.
        """
        return None

    def mend(self) -> None:
        """If a turn was cut, give up all connections of the loop."""
        assert self.whole  # loops whose turns may be cut override this

    def turn(self, function: Callable[..., T], *args: Any) -> T:
        """Call a function that changes a client's core, as a turn of the loop."""
        return function(*args)

    def outside(self, function: Callable[..., T], *args: Any) -> T:
        """Call a user's function from within a turn; the function may take turns of its own."""
        return function(*args)

    def may_be_cut(self) -> bool:
        """Whether an exception here may come from a signal handler, between any two steps.

        Such an exception is meant for the user of the loop.
        """
        return False

    def forget(self) -> None:  # noqa: B027 - few loops can be cut
        """Drop all watches and queued callbacks, because the turn that they belong to was cut."""

    def run_native(
        self, coroutine: Coroutine[Any, Any, Any], report: Report, context: Context
    ) -> Handle:
        """Run a coroutine that awaits this loop's own kind of future (`native=True`)."""
        return self.run_coroutine(coroutine, report, context)

    def native_gate(self) -> AsyncGate:
        """A gate for a coroutine that runs in `run_native`."""
        from .asyncio_gate import AsyncioGate  # here, as it imports asyncio

        return AsyncioGate()

    def enter(self, begin: Begin) -> None:
        """Start a server in a running program, in the background.

        Returns when the server answers calls; raises the error that prevents it.
        """
        raise NotImplementedError

    def leave(self, drain: Drain) -> None:
        """Drain and end the server. Returns when it has ended."""
        raise NotImplementedError

    async def enter_async(self, begin: Begin) -> None:
        """As `enter`, on a running asyncio loop."""
        raise NotImplementedError

    async def leave_async(self, drain: Drain) -> None:
        """As `leave`, on a running asyncio loop."""
        raise NotImplementedError

    @abstractmethod
    def run(self, start: Callable[[], object]) -> None:
        """Run the loop in the foreground: call `start`, and return after `stop`."""

    @abstractmethod
    def stop(self) -> None:
        """End `run`. Call it on the loop's thread."""

    @abstractmethod
    def close(self) -> None:
        """Release the worker threads; a thread that still runs a handler ends when it returns."""

    def come_back(self, function: Callable[[], object]) -> None:
        """In a child that a handler forked: when the loop goes on, call the function only."""
        self.call_soon(function)

    def on_signal(self, number: signal.Signals, function: Callable[[], object]) -> None:
        """Call the function on the loop at the signal; for `run` in the main thread."""
        signal.signal(number, lambda *_: self.call_soon_threadsafe(function))
