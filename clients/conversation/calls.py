"""One call as the client's end sees it, and the states that it goes through."""

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
    HELD = "held"  # not sent, as the answer to another may be its own
    WAITING = "waiting"  # for a link
    SENT = "sent"  # over `link`, or about to be
    PAUSED = "paused"  # it failed on its way, and is sent again after a while
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
    """What few calls have: wishes for the choice of their server, and what is noted of few."""

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
        self.only: Link | None = None  # where it goes, or nowhere
        self.session: SeenVersions | None = None  # whose it is, if not the client's own
        self.primary = False  # a replica has refused it
        self.duplicate: Duplicate | None = None  # the same call at another server
        self.size = 0  # bytes of its arguments, where these are many
        self.failure: errors.CallError | None = None  # with which it ends, and is not sent
        self.inherits = False  # whether it ends with the call within which it is made
        self.latest: float | None = None  # the end of the call within which it is made
        self.upload: Upload | None = None
        self.mapped: MapOutcomes | None = None  # of many calls in one message
        self.whole: WholeMap | None = None  # of a call that stands for all of a map, and is never sent
        # What the outcome passes through on its way to `finish`: the client's interceptors.
        self.passes: Callable[[Any, BaseException | None], tuple[Any, BaseException | None]] | None = None
        self.span: Span | None = None  # of a client that traces


class Recorder(Protocol):
    """What counts the calls of a client, where these are counted."""

    def ended(self, call: OutgoingCall, error: BaseException | None, now: float | None = None) -> None:
        """A call has ended, at that time if it is known."""

    def again(self, link: Link, reason: str) -> None:
        """A call is sent again that this server has not answered."""


class WholeMap(Protocol):
    """The calls of a map."""

    def begin(self, core: Any) -> None:
        """Send them."""

    def stop(self) -> None:
        """Cancel those that have not ended."""


class Span(Protocol):
    """What a tracer knows of a call."""

    def carrier(self) -> dict[str, str]:
        """What travels with it."""

    def end(self, code: str, text: str = "") -> None:
        """It has ended."""


# How often a call is sent at most, where nothing is said.
ATTEMPTS = 5


class CallSettings:
    """What many calls have in common: `timeout` is in seconds, `returns` the type that results are to have, `attempts` how often
    a call is sent at most."""

    __slots__ = ("attempts", "returns", "timeout", "wait_for_ready")

    def __init__(self, timeout: float | None = None) -> None:
        self.timeout = timeout
        self.attempts = ATTEMPTS
        self.returns: Any = Any
        self.wait_for_ready = True


class OutgoingCall:
    """One call. A client style subclasses it: `finish` gets the result or the error, exactly once, and `item` what streams.

    The machine sets the id in `message` each time it sends it, and the time left. A stream has `deadline` moved on by every item,
    but not beyond `extras.latest`. What few calls have is in `extras`: where there are none, the call takes the short way.
    """

    __slots__ = ("allowed", "deadline", "extras", "link", "made", "message", "sent", "settings", "state")
    made: float  # when it was made
    sent: float  # the same, and then, where there are many servers, when it was sent
    is_counted: ClassVar[bool] = True  # whether it is a call that a caller has made
    allowed: int  # items that may still come, of a stream

    def __init__(self, message: Call, settings: CallSettings, deadline: float | None = None) -> None:
        self.message = message
        self.settings = settings
        self.deadline = deadline
        self.state = NEW
        self.link: Link | None = None
        self.extras: CallExtras | None = None

    def conclude(self, result: Any, error: BaseException | None, recorder: Recorder | None = None) -> None:
        """The one ending. It is recorded as its caller sees it."""
        self.state = ENDED
        if self.extras is not None and self.extras.passes is not None:
            result, error = self.extras.passes(result, error)
        self.observe_end(error, recorder)
        self.finish(result, error)

    def observe_end(self, error: BaseException | None, recorder: Recorder | None) -> None:
        """For metrics and traces."""
        if recorder is not None and self.is_counted and (self.extras is None or self.extras.whole is None):
            recorder.ended(self, error)
        if self.extras is not None and self.extras.span is not None:
            self.extras.span.end(errors.code_of(error), "" if error is None else errors.text_of(error))

    def disown(self, error: BaseException) -> None:
        """In a forked child: its outcome comes to another process; whoever waits here gets the error, and nobody is called back."""
        self.state = ENDED
        self.finish(None, error)

    @property
    def ended(self) -> bool:
        return self.state is ENDED

    @property
    def attempts(self) -> int:
        """How often it is sent at most."""
        return self.settings.attempts

    @property
    def stays(self) -> bool:
        """Whether it is meant for one server only, and never sent again."""
        return self.extras is not None and self.extras.only is not None

    @property
    def streams(self) -> bool:
        """Whether items go one way or the other."""
        return self.message.credit > 0 or self.upload is not None

    @property
    def upload(self) -> Upload | None:
        return None if self.extras is None else self.extras.upload

    @property
    def size(self) -> int:
        """Bytes of its arguments, where these are many."""
        return 0 if self.extras is None else self.extras.size

    def extended(self) -> CallExtras:
        """Its extras, made where it had none."""
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
        """Whether `finish` has done its work. Asked where a signal's handler may have cut it half-way."""
        return False

    def item(self, value: Any, size: int) -> None:
        """An item has come, which took so many bytes on the way."""
        raise NotImplementedError


class Duplicate(OutgoingCall):
    """The same call at a second server. What comes of it first is what comes of `first`; an error there leaves it to that one alone."""

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
        """The table of calls ends the first of the two."""


class Upload(ABC):
    """The items of an argument that streams. A client style knows how to get them from their iterator, and sends them with
    `ClientMachine.send_item` and `end_items`, no more than there is credit for, and none while it is `held`."""

    __slots__ = ("allowed", "held", "sent")

    def __init__(self) -> None:
        self.allowed = 0
        self.held = False  # the machine's: too many items wait for the transport to take them
        self.sent = 0

    @abstractmethod
    def begin(self) -> None:
        """The call has been started."""

    @abstractmethod
    def credit(self, items: int) -> None:
        """The server takes so many more."""

    @abstractmethod
    def go_on(self) -> None:
        """It is `held` no longer: the transport has taken what waited."""

    @abstractmethod
    def stop(self) -> None:
        """The call has ended."""


def milliseconds(seconds: float) -> int:
    """The time left as a message says it, rounded up."""
    return int(min(max(seconds, 0.001), 1e12) * 1000 + 0.999)
