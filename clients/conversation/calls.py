"""One call on the client side, and its states."""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import msgspec

from ... import errors
from ...balancing.versions import SeenVersions
from ...protocol.messages import Call
from .links import Link

if TYPE_CHECKING:
    from .maps import MapOutcomes


class CallState(enum.Enum):
    NEW = "new"
    HELD = "held"  # not sent: it may share the reply to another call
    WAITING = "waiting"  # for a link
    SENT = "sent"  # over `link`, or in its outbox
    PAUSED = "paused"  # it failed on its way and waits for its retry
    ENDED = "ended"


NEW, HELD, WAITING, SENT, PAUSED, ENDED = (
    CallState  # looked up once: a member of an enum takes 0.1 us on Python 3.11
)

# The states that may follow each.
TRANSITIONS = {
    NEW: {HELD, WAITING, SENT, ENDED},
    HELD: {WAITING, SENT, ENDED},
    WAITING: {WAITING, SENT, ENDED},
    SENT: {WAITING, SENT, PAUSED, ENDED},
    PAUSED: {WAITING, SENT, ENDED},
    ENDED: set(),
}


class CallExtras:
    """Fields that few calls need, above all wishes for the choice of their server."""

    __slots__ = (
        "affinity",
        "duplicate",
        "failure",
        "hedged",
        "inherits",
        "latest",
        "mapped",
        "only",
        "passes",
        "primary",
        "session",
        "size",
        "span",
        "upload",
        "whole",
    )

    def __init__(self) -> None:
        self.affinity: str | None = None  # calls with the same one go to the same server
        self.hedged = False  # whether it may be sent to a second server
        self.only: Link | None = None  # the only link that may carry it
        self.session: SeenVersions | None = None  # its session, if not the client's own
        self.primary = False  # whether a replica has refused it
        self.duplicate: Duplicate | None = None  # the same call at another server
        self.size = 0  # bytes of its arguments, if large
        self.failure: errors.CallError | None = None  # it ends with this error and is not sent
        self.inherits = False  # whether its deadline is that of the call that made it
        self.latest: float | None = None  # deadline of the call that made it
        self.upload: Upload | None = None
        self.mapped: MapOutcomes | None = None  # if it is many calls in one message
        self.whole: WholeMap | None = None  # if it stands for a whole map; it is never sent
        # Function that the outcome passes through before `finish`: the client's interceptors or the
        # cache.
        self.passes: (
            Callable[[Any, BaseException | None], tuple[Any, BaseException | None]] | None
        ) = None
        self.span: Span | None = None  # if the client traces


class Recorder(Protocol):
    """Counts the calls of a client, if they are counted."""

    def ended(
        self, call: OutgoingCall, error: BaseException | None, now: float | None = None
    ) -> None:
        """A call has ended, at the time `now` if it is known."""

    def again(self, link: Link, reason: str) -> None:
        """A call that this server has not answered is sent again."""


class WholeMap(Protocol):
    """The calls of a map."""

    def begin(self, core: Any) -> None:
        """Send the calls."""

    def stop(self) -> None:
        """Cancel the calls that have not ended."""


class Span(Protocol):
    """A tracer's span of a call."""

    def carrier(self) -> dict[str, str]:
        """The trace context that travels with the call."""

    def end(self, code: str, text: str = "") -> None:
        """End the span."""


# Default of the maximum times that a call is sent.
ATTEMPTS = 5


class CallSettings:
    """Settings that many calls share.
    `timeout` is in seconds, `returns` is the type of the results, `attempts` the maximum times that
    a call is sent."""

    __slots__ = ("attempts", "returns", "timeout", "wait_for_ready")

    def __init__(self, timeout: float | None = None) -> None:
        self.timeout = timeout
        self.attempts = ATTEMPTS
        self.returns: Any = Any
        self.wait_for_ready = True


class OutgoingCall:
    """One call. A client style subclasses it.

    `finish` receives the result or error exactly once, `item` each item. The machine sets the id
    and the remaining time in `message` at each send. Every item moves a stream's `deadline` on, up
    to `extras.latest`. `extras` holds fields that few calls need; without it, a call takes the fast
    path.
    """

    __slots__ = (
        "allowed",
        "deadline",
        "extras",
        "link",
        "made",
        "message",
        "sent",
        "settings",
        "state",
    )
    made: float  # time at which it was made
    sent: float  # the same; with many servers, later the time at which it was sent
    is_counted: ClassVar[bool] = True  # whether a caller made it
    allowed: int  # items that the stream may still send

    def __init__(
        self, message: Call, settings: CallSettings, deadline: float | None = None
    ) -> None:
        self.message = message
        self.settings = settings
        self.deadline = deadline
        self.state = NEW
        self.link: Link | None = None
        self.extras: CallExtras | None = None

    def conclude(
        self, result: Any, error: BaseException | None, recorder: Recorder | None = None
    ) -> None:
        """End the call, once. The recorder sees the outcome that the caller sees."""
        self.state = ENDED
        if self.extras is not None and self.extras.passes is not None:
            result, error = self.extras.passes(result, error)
        self.observe_end(error, recorder)
        self.finish(result, error)

    def observe_end(self, error: BaseException | None, recorder: Recorder | None) -> None:
        """Report the end to metrics and traces."""
        if (
            recorder is not None
            and self.is_counted
            and (self.extras is None or self.extras.whole is None)
        ):
            recorder.ended(self, error)
        if self.extras is not None and self.extras.span is not None:
            self.extras.span.end(
                errors.code_of(error), "" if error is None else errors.text_of(error)
            )

    def disown(self, error: BaseException) -> None:
        """In a forked child: the parent gets the outcome.
        A caller that waits here gets the error; no callback runs."""
        self.state = ENDED
        self.finish(None, error)

    @property
    def ended(self) -> bool:
        return self.state is ENDED

    @property
    def attempts(self) -> int:
        """Maximum times that it is sent."""
        return self.settings.attempts

    @property
    def stays(self) -> bool:
        """Whether it is for one server only, and never sent again."""
        return self.extras is not None and self.extras.only is not None

    @property
    def streams(self) -> bool:
        """Whether it streams in either direction."""
        return self.message.credit > 0 or self.upload is not None

    @property
    def upload(self) -> Upload | None:
        return None if self.extras is None else self.extras.upload

    @property
    def size(self) -> int:
        """Bytes of its arguments, if large; otherwise 0."""
        return 0 if self.extras is None else self.extras.size

    def extended(self) -> CallExtras:
        """Its extras, made if it has none."""
        if self.extras is None:
            self.extras = CallExtras()
        return self.extras

    @property
    def id(self) -> int:
        return self.message.id

    @property
    def method(self) -> str:
        return self.message.method

    def finish(self, result: Any, error: BaseException | None) -> None:
        raise NotImplementedError

    @property
    def told(self) -> bool:
        """Whether `finish` has completed. Used where a signal handler may have cut it half-way."""
        return False

    def item(self, value: Any, size: int) -> None:
        """An item has arrived. `size`: its bytes on the wire."""
        raise NotImplementedError


class Duplicate(OutgoingCall):
    """The same call at a second server.
    Its result ends `first`; its error leaves the call to `first` alone."""

    __slots__ = ("first",)
    is_counted = False

    def __init__(self, first: OutgoingCall) -> None:
        super().__init__(msgspec.structs.replace(first.message), first.settings, first.deadline)
        self.first = first
        self.extended().session = first.extended().session

    @property
    def stays(self) -> bool:
        return True

    def finish(self, result: Any, error: BaseException | None) -> None:
        """Does nothing: the table of calls ends `first`."""


class Upload(ABC):
    """The items of a streaming argument.
    A client style takes them from their iterator and sends them with `ClientMachine.send_item` and
    `end_items`, within the server's credit, and not while it is `held`."""

    __slots__ = ("allowed", "held", "sent")

    def __init__(self) -> None:
        self.allowed = 0
        self.held = False  # set by the machine while too many bytes of items wait for the transport
        self.sent = 0

    @abstractmethod
    def begin(self) -> None:
        """The call has started."""

    @abstractmethod
    def credit(self, items: int) -> None:
        """The server grants credit for `items` more items."""

    @abstractmethod
    def go_on(self) -> None:
        """It is no longer `held`: the transport has taken the waiting items."""

    @abstractmethod
    def stop(self) -> None:
        """The call has ended."""


def milliseconds(seconds: float) -> int:
    """The remaining time in the unit of the message, rounded up."""
    return int(min(max(seconds, 0.001), 1e12) * 1000 + 0.999)
