"""The interfaces that a call uses of its server: `CallHost` and `CallLauncher`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from ....backends.base import Loop
from ....protocol.messages import CallOptions, End, Error, Reply
from ....state.store import State

if TYPE_CHECKING:
    from msgspec import Raw

    from ...declare.service import Method
    from .stream_turns import StreamTurns


class CallLauncher(Protocol):
    """The scheduling of calls that may wait for a worker or another resource."""

    def take(self, call: Any, now: float) -> None:
        """Start the call, or queue it until its resources are free."""

    def taken(self, call: Any) -> None:
        """Free the pool's door, now that a greenlet has taken the call. In the loop's thread."""

    def release_worker(self, call: Any) -> None:
        """Release the worker of a call that no longer needs it."""

    def sets_aside(self, batch: Any) -> list[Any]:
        """Release the batch slot of a batch that takes long, though it still runs.

        Removes the client's waiting batches of the same method from the queue, and returns them.
        """

    def postpone(self, call: Any, seconds: float) -> None:
        """Retry a call after `seconds`, since it depends on another call.

        It releases its resources meanwhile.
        """

    def ended(self, call: Any, now: float, *, ran: bool) -> None:
        """Release the resources of a call that has ended."""

    def given_up(self) -> None:
        """Count a call that was cancelled, perhaps while it waited."""


class CallHost(Protocol):
    """The server as its calls see it. Use it on the serving loop, except for `post`."""

    loop: Loop
    app: Any
    state: State | None

    @property
    def launcher(self) -> CallLauncher: ...

    @property
    def room(self) -> int:
        """Bytes that may still be added to those in flight."""

    def post(self, function: Callable[..., object], *args: Any) -> None:
        """Queue a call of the function for the serving loop. Thread-safe.

        All functions queued before the loop's next turn share one wake-up.
        """

    def complete(
        self, call: Any, result: Any, error: BaseException | None, *, ran: bool = True
    ) -> None:
        """Finish a call whose handler has ended, or never `ran`.

        Replies unless the call has ended for its client.
        """

    def answer(self, call: Any, message: Reply | Error | End) -> None:
        """Send a call's last message. It ends for the client; its handler may still run."""

    def send_item(self, call: Any, item: Raw) -> None: ...

    def send_credit(self, call: Any, items: int) -> None: ...

    def charge(self, call: Any, size: int) -> None:
        """Add bytes to those counted for the call.

        Raises ResourceExhausted if the server has no room for them.
        """

    def refund(self, call: Any, size: int) -> None:
        """Subtract bytes from those counted for the call."""

    def admits(self, call: Any) -> bool:
        """Whether a background call, which has no client, may run. If so, counts it in flight."""

    def versions_of(self, options: CallOptions | None) -> tuple[int, int]:
        """Two versions of this service's data: the one that the caller has seen, and the lowest one
        that a handler starting now can see."""

    def abandon(self, call: Any) -> None:
        """Cancel a call of a disconnected client in a later turn of the loop."""

    def complain(self, call: Any, what: str, error: BaseException) -> None:
        """Log an error of the service's own code, with its traceback."""

    def came_back(self, method: str, error: BaseException | None = None) -> None:
        """Called after a handler has run. Ends this process if the handler forked it."""

    def stream_turns(self, method: Method) -> StreamTurns[Any]:
        """The queue that the method's streams share with all others that run in the same place."""
