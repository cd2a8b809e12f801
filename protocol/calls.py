"""One call and one link as the client's end sees them; what becomes of them is told in `client.py`."""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from .messages import Call, FromClient, Welcome


class LinkState(enum.Enum):
    DOWN = "down"  # the last attempt to connect failed, or the link was lost
    CONNECTING = "connecting"  # no attempt has succeeded or failed yet
    GREETING = "greeting"  # connected; our hello is on its way
    OPEN = "open"
    DRAINING = "draining"  # the server is going: no new calls to it
    CLOSED = "closed"


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

    __slots__ = ("deadline", "ended", "latest", "link", "message", "passes", "settings", "upload", "weight")

    def __init__(self, message: Call, settings: CallSettings, deadline: float | None = None) -> None:
        self.message = message
        self.settings = settings
        self.deadline = deadline
        self.ended = False
        self.latest: float | None = None
        self.link: Link | None = None
        self.upload: Upload | None = None
        self.weight = 0
        # What the outcome passes through on its way to `finish`: the client's interceptors.
        self.passes: Callable[[Any, BaseException | None], tuple[Any, BaseException | None]] | None = None

    def conclude(self, result: Any, error: BaseException | None) -> None:
        """The one ending."""
        self.ended = True
        if self.passes is not None:
            result, error = self.passes(result, error)
        self.finish(result, error)

    @property
    def streams(self) -> bool:
        """Whether items go one way or the other."""
        return self.message.credit > 0 or self.upload is not None

    @property
    def id(self) -> int:
        return self.message.id

    @property
    def method(self) -> str:
        return self.message.method

    def finish(self, result: Any, error: BaseException | None) -> None:
        raise NotImplementedError

    def item(self, value: Any) -> None:
        raise NotImplementedError


class Upload(ABC):
    """The items of an argument that streams. A client style knows how to get them from their iterator, and sends them with
    `ClientMachine.send_item` and `end_items`, no more than there is credit for."""

    __slots__ = ("allowed", "sent")

    def __init__(self) -> None:
        self.allowed = 0
        self.sent = 0

    @abstractmethod
    def begin(self) -> None:
        """The call has been started."""

    @abstractmethod
    def credit(self, items: int) -> None:
        """The server takes so many more."""

    @abstractmethod
    def stop(self) -> None:
        """The call has ended."""


class Link:
    """The way to one server."""

    __slots__ = ("careful", "endpoint", "limit", "once", "outbox", "reason", "state", "welcome")

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self.state = LinkState.CONNECTING
        self.outbox: list[FromClient] = []
        self.welcome: Welcome | None = None
        self.limit: int | None = (
            None  # bytes that a call may take, where the server takes less than this client
        )
        self.once: frozenset[str] = frozenset()  # methods whose calls need a key
        self.careful = False  # whether a call must be looked at before it is sent, for the sake of these two
        self.reason = f"no server at {endpoint}"

    def opened(self, welcome: Welcome, max_size: int) -> None:
        """The server has said who it is, to a client that takes values of so many bytes."""
        self.state = LinkState.OPEN
        self.welcome = welcome
        self.limit = welcome.max_size if welcome.max_size < max_size else None
        self.once = frozenset(name for name, flags in welcome.methods.items() if flags.once)
        self.careful = self.limit is not None or bool(self.once)


def milliseconds(seconds: float) -> int:
    """The time left as a message says it, rounded up."""
    return int(min(max(seconds, 0.001), 1e12) * 1000 + 0.999)
