"""The client's links, each the way to one server; what happens on them is told in `client.py`."""

from __future__ import annotations

import enum

from .. import errors
from ..balancing.liveness import Liveness
from ..balancing.loads import Load
from ..balancing.outliers import Health
from .messages import (
    MAX_FRAMES,
    MAX_MESSAGES,
    About,
    Call,
    Cancel,
    Credit,
    End,
    FromClient,
    Item,
    Welcome,
)

_NOTHING = About()

# Bytes of calls given up after which the outbox is thinned out, and what each counts for beside its arguments: with 2,000 of them, to look
# through the outbox costs each little.
_THIN_AT, _CALL = 1024 * 1024, 512

# A share of the calls that no server can go below or above, whatever it says of itself.
_LEAST, _MOST = 1e-6, 1e6


class LinkState(enum.Enum):
    DOWN = "down"  # the last attempt to connect failed, or the link was lost
    CONNECTING = "connecting"  # no attempt has succeeded or failed yet
    GREETING = "greeting"  # connected; our hello is on its way
    OPEN = "open"
    DRAINING = "draining"  # the server is going: no new calls to it
    CLOSED = "closed"


class Link(Load):
    """The way to one server, and what is known of it."""

    __slots__ = (
        "careful",
        "closed_by",
        "given_up",
        "health",
        "limit",
        "liveness",
        "max_frames",
        "max_messages",
        "once",
        "outbox",
        "reached",
        "reason",
        "role",
        "service",
        "state",
        "unasked",
        "unsent",
        "welcome",
    )

    def __init__(self, endpoint: str) -> None:
        super().__init__(endpoint)
        self.state = LinkState.CONNECTING
        self.liveness = Liveness.READY
        self.outbox: list[FromClient] = []
        self.unsent = 0  # bytes of items in the outbox, or that the transport has not taken
        self.given_up = 0  # bytes of calls, since the outbox was thinned out
        self.unasked = 0  # messages that nobody asked for, since one that was
        self.welcome: Welcome | None = None
        self.service = ""
        self.role = ""
        self.health = Health(self)
        self.reached = 0  # the version of its service's data that it is known to have
        # Bytes that a call may take, where the server takes less than this client.
        self.limit: int | None = None
        self.max_messages, self.max_frames = MAX_MESSAGES, MAX_FRAMES  # of one batch
        self.once: frozenset[str] = frozenset()  # methods whose calls need a key
        self.careful = False  # whether a call must be looked at before it is sent, for the sake of these
        self.reason = f"no server at {endpoint}"
        self.closed_by: type[errors.CallError] = errors.ProtocolError  # once it is closed

    @property
    def refuses(self) -> bool:
        """Whether the server does not let this client in."""
        return self.state is LinkState.CLOSED and self.closed_by is errors.Unauthenticated

    def cancel(self, id_: int, weight: int) -> None:
        """Tell the server that a call is given up, whose arguments take so many bytes."""
        self.outbox.append(Cancel(id_))
        self.given_up += weight + _CALL
        if self.given_up >= _THIN_AT:
            self._thin_out()

    def _thin_out(self) -> None:
        """Take out what need not be sent any more: where the server reads nothing, the outbox would grow with each call given up. Of one
        that was sent only its Cancel stays."""
        self.given_up = 0
        cancelled = {message.id for message in self.outbox if type(message) is Cancel}
        unsent = {message.id for message in self.outbox if type(message) is Call} & cancelled
        kept: list[FromClient] = []
        for message in self.outbox:
            match message:
                case Cancel(id=id_):
                    useless = id_ in unsent
                case Call(id=id_) | Item(id=id_) | End(id=id_) | Credit(id=id_):
                    useless = id_ in cancelled
                case _:
                    useless = False
            if not useless:
                kept.append(message)
        self.outbox = kept

    def opened(self, welcome: Welcome, max_size: int, now: float) -> None:
        """The server has said who it is, to a client that takes values of so many bytes."""
        about = welcome.about or _NOTHING
        self.forget()
        self.unsent = 0
        self.health.opened(now)
        self.state = LinkState.OPEN
        self.liveness = Liveness.READY
        self.welcome = welcome
        self.service = welcome.service
        self.role, self.zone, self.weight = about.role, about.zone, _weight(about.weight)
        self.reached = 0
        self.limit = welcome.max_size if welcome.max_size < max_size else None
        self.max_messages = min(max(welcome.max_messages, 1), MAX_MESSAGES)
        self.max_frames = min(max(welcome.max_frames, 1), MAX_FRAMES)
        self.once = frozenset(name for name, flags in welcome.methods.items() if flags.once)
        self.careful = self.limit is not None or bool(self.once) or bool(self.role)


def _weight(told: float) -> float:
    """One that can be reckoned with."""
    return min(max(told, _LEAST), _MOST) if told == told else _LEAST
