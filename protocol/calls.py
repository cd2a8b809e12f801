"""One call as the client's end sees it; what becomes of it is told in `client.py`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from .messages import Call

if TYPE_CHECKING:
    from .links import Link


class Session(Protocol):
    """Whose reads are to be no older than what it has seen: `versions` has that, by service."""

    @property
    def versions(self) -> dict[str, int] | None: ...

    def saw(self, versions: Mapping[str, int]) -> None:
        """Keep the highest of each."""


class Plan:
    """What few calls ask of the client's machine, and what it notes of few."""

    __slots__ = ("affinity", "hedged", "only", "primary", "session", "tries", "twin")

    def __init__(self) -> None:
        self.affinity: str | None = None  # calls with the same one go to the same server
        self.hedged = False  # whether it may be sent to a second server
        self.only: Link | None = None  # where it goes, or nowhere
        self.session: Session | None = None  # whose it is, if not the client's own
        self.primary = False  # a replica has refused it
        self.tries = False  # its server was out, and is tried with it
        self.twin: OutgoingCall | None = None  # the same call at another server


class CallSettings:
    """What many calls have in common: `timeout` is in seconds, `returns` the type that results are to have, `attempts` how often
    a call is sent at most."""

    __slots__ = ("attempts", "returns", "timeout", "wait_for_ready")

    def __init__(self, timeout: float | None = None) -> None:
        self.timeout = timeout
        self.attempts = 5
        self.returns: Any = Any
        self.wait_for_ready = True


class OutgoingCall:
    """One call. A client style subclasses it: `finish` gets the result or the error, exactly once, and `item` what streams.

    The machine sets the id in `message` each time it sends it, and the time left. A stream has `deadline` moved on by every item,
    but not beyond `latest`. `weight` is what its arguments take, in bytes, where that is much.
    """

    __slots__ = (
        "allowed",
        "deadline",
        "ended",
        "latest",
        "link",
        "message",
        "passes",
        "plan",
        "sent",
        "settings",
        "upload",
        "weight",
    )
    sent: float  # when, where there are many servers

    def __init__(self, message: Call, settings: CallSettings, deadline: float | None = None) -> None:
        self.message = message
        self.settings = settings
        self.allowed = message.credit  # items that may still come
        self.deadline = deadline
        self.ended = False
        self.latest: float | None = None
        self.link: Link | None = None
        self.upload: Upload | None = None
        self.plan: Plan | None = None
        self.weight = 0
        # What the outcome passes through on its way to `finish`: the client's interceptors.
        self.passes: Callable[[Any, BaseException | None], tuple[Any, BaseException | None]] | None = None

    def conclude(self, result: Any, error: BaseException | None) -> None:
        """The one ending."""
        self.ended = True
        if self.passes is not None:
            result, error = self.passes(result, error)
        self.finish(result, error)

    def disown(self, error: BaseException) -> None:
        """In a forked child: its outcome comes to another process; whoever waits here gets the error, and nobody is called back."""
        self.ended = True
        self.finish(None, error)

    @property
    def streams(self) -> bool:
        """Whether items go one way or the other."""
        return self.message.credit > 0 or self.upload is not None

    def planned(self) -> Plan:
        """Its plan, made where it had none."""
        if self.plan is None:
            self.plan = Plan()
        return self.plan

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
