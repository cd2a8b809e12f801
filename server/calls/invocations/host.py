"""What a call needs of the server that handles it."""

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
    """What a call that may have to wait for a worker, or for anything else, needs of the scheduling."""

    def take(self, call: Any, now: float) -> None:
        """Begin the call, or let it wait for what it needs."""

    def taken(self, call: Any) -> None:
        """A greenlet has taken the call from its pool, in the thread of the loop."""

    def release_worker(self, call: Any) -> None:
        """The call no longer needs its worker."""

    def sets_aside(self, batch: Any) -> list[Any]:
        """A batch takes long: it no longer counts among those that are handed to workers at once. Returns its client's batches of that
        method, which wait no longer."""

    def postpone(self, call: Any, seconds: float) -> None:
        """The call waits for what another does: others get its place, and it looks again after so many seconds."""

    def ended(self, call: Any, now: float, *, ran: bool) -> None:
        """A call that held something has ended."""

    def given_up(self) -> None:
        """A call has ended that may still wait for its place."""


class CallHost(Protocol):
    """All but `post` is to be used on the serving loop."""

    loop: Loop
    app: Any
    state: State | None

    @property
    def launcher(self) -> CallLauncher: ...

    @property
    def room(self) -> int:
        """Bytes that may still come in flight."""

    def post(self, function: Callable[..., object], *args: Any) -> None:
        """Call the function on the serving loop, from any thread, with one wake-up for all that gather meanwhile."""

    def complete(self, call: Any, result: Any, error: BaseException | None, *, ran: bool = True) -> None:
        """A handler has ended, or never `ran`: answer, unless nobody waits any more."""

    def answer(self, call: Any, message: Reply | Error | End) -> None:
        """End the call at this end, with its last message. Its handler may go on."""

    def send_item(self, call: Any, item: Raw) -> None: ...

    def send_credit(self, call: Any, items: int) -> None: ...

    def charge(self, call: Any, size: int) -> None:
        """Count so many bytes more for the call. Raises ResourceExhausted where there are as many in flight as the server takes."""

    def refund(self, call: Any, size: int) -> None:
        """The call needs so many of its bytes no longer."""

    def admits(self, call: Any) -> bool:
        """Whether a call that no client waits for may run; then it counts."""

    def versions_of(self, options: CallOptions | None) -> tuple[int, int]:
        """The version of this service's data that the caller has seen, and the one that a handler will see at least which begins now."""

    def abandon(self, call: Any) -> None:
        """Cancel the call of a disconnected client, soon."""

    def complain(self, call: Any, what: str, error: BaseException) -> None:
        """Log what the service's own code has done wrong, with its traceback."""

    def came_back(self, method: str, error: BaseException | None = None) -> None:
        """Where code of a handler has ended, or has raised the error: if this is a child that it has forked, that ends as well."""

    def stream_turns(self, method: Method) -> StreamTurns[Any]:
        """The turns of streams of that method, and of others that run in the same place."""
