"""The client's links: each the way to one server, with what is known of it."""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence

from ... import errors
from ...balancing.liveness import Liveness
from ...balancing.servers import BalancedServer
from ...protocol.bounds import MAX_FRAMES, MAX_MESSAGES
from ...protocol.messages import (
    About,
    Call,
    Cancel,
    Credit,
    End,
    FromClient,
    Item,
    MethodFlags,
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


DOWN, CONNECTING, GREETING, OPEN, DRAINING, CLOSED = LinkState  # looked up once (see calls.py)

# The states that may follow each: up, welcome, drain; lost; a fault, or the end.
_ANEW = {GREETING, DOWN, CLOSED}
TRANSITIONS = {
    DOWN: _ANEW,
    CONNECTING: _ANEW,
    GREETING: _ANEW | {OPEN},
    OPEN: _ANEW | {DRAINING},
    DRAINING: _ANEW,
    CLOSED: set(),
}

# The names that users see of the states of links that are not open, from the best to the worst.
_NAMES = ((CONNECTING, "connecting"), (GREETING, "connecting"), (DRAINING, "draining"), (DOWN, "down"))


class Link(BalancedServer):
    """The way to one server. `outbox`: the messages that are to be sent over it."""

    __slots__ = (
        "careful",
        "closed_by",
        "given_up",
        "limit",
        "max_frames",
        "max_mapped",
        "max_messages",
        "once",
        "outbox",
        "reason",
        "state",
        "unasked",
        "unsent",
    )

    def __init__(self, endpoint: str) -> None:
        super().__init__(endpoint)
        self.state = CONNECTING
        self.outbox: list[FromClient] = []
        self.unsent = 0  # bytes of items in the outbox, or that the transport has not taken
        self.given_up = 0  # bytes of calls, since the outbox was thinned out
        self.unasked = 0  # unsolicited messages since the last solicited one
        # Bytes that a call may take, where the server takes less than this client.
        self.limit: int | None = None
        self.max_messages, self.max_frames = MAX_MESSAGES, MAX_FRAMES  # of one batch
        self.max_mapped = 0  # calls in one Map
        self.methods: dict[str, MethodFlags] = {}  # once the server has told of them
        self.once: frozenset[str] = frozenset()  # methods whose calls need a key
        self.careful = False  # whether a call must be looked at before it is sent, for the sake of these
        self.reason = f"no server at {endpoint}"
        self.closed_by: type[errors.CallError] = errors.ProtocolError  # once it is closed

    @property
    def refuses(self) -> bool:
        """Whether the server does not let this client in."""
        return self.state is CLOSED and self.closed_by is errors.Unauthenticated

    def become(self, state: LinkState) -> bool:
        """Go to that state; False where it cannot follow the link's own."""
        if state not in TRANSITIONS[self.state]:
            return False
        self.state = state
        self.open = state is OPEN
        return True

    def cancel(self, id_: int, size: int) -> None:
        """Tell the server that a call is given up. `size`: bytes of its arguments."""
        self.outbox.append(Cancel(id_))
        self.given_up += size + _CALL
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
        """The server has sent its welcome. `max_size`: bytes of the largest value that this client takes."""
        about = welcome.about or _NOTHING
        self.forget()
        self.unsent = 0
        self.health.opened(now)
        self.become(OPEN)
        self.liveness = Liveness.READY
        self.methods = welcome.methods
        self.service = welcome.service
        self.role, self.zone, self.weight = about.role, about.zone, _weight(about.weight)
        self.reached = 0
        self.limit = welcome.max_size if welcome.max_size < max_size else None
        self.max_messages = min(max(welcome.max_messages, 1), MAX_MESSAGES)
        self.max_frames = min(max(welcome.max_frames, 1), MAX_FRAMES)
        self.max_mapped = about.max_mapped
        self.once = frozenset(name for name, flags in welcome.methods.items() if flags.once)
        self.careful = self.limit is not None or bool(self.once) or bool(self.role)


def _weight(told: float) -> float:
    """One that can be reckoned with."""
    return min(max(told, _LEAST), _MOST) if told == told else _LEAST


class Links:
    """All links of a client, in `all`. `searching`: why no server is known, where servers are to be found; None where all were given."""

    def __init__(self, endpoints: Sequence[str], searching: Callable[[], str] | None) -> None:
        self.all = [Link(endpoint) for endpoint in endpoints]
        self.searching = searching
        self.found = searching is None  # whether the servers that there are have been reported
        # Of one server alone there is nothing to choose, and nothing is kept of its load.
        self.only = self.all[0] if len(self.all) == 1 and searching is None else None

    @property
    def state(self) -> str:
        """That of the best link: "ready", "busy" (its server lives, but does not answer yet), "stalled" (it says nothing), "connecting",
        "draining" (its server is going), "down", or "closed"."""
        opened = {link.liveness for link in self.all if link.open}
        if opened:
            return next(each.value for each in Liveness if each in opened)
        states = {link.state for link in self.all}
        for state, name in _NAMES:
            if state in states:
                return name
        return "closed" if self.searching is None else "connecting"

    @property
    def hopeless(self) -> bool:
        """Whether no link will ever be open. (Servers that are found come and go; but where all that are there refuse this client, the
        next will, too.)"""
        if self.searching is None:
            return all(link.state is CLOSED for link in self.all)
        return bool(self.all) and all(link.refuses for link in self.all)

    @property
    def coming(self) -> bool:
        """Whether one may be open soon."""
        return any(link.state in (CONNECTING, GREETING) for link in self.all)

    def replace(self, link: Link) -> Link:
        """A new link in the place of one."""
        new = Link(link.endpoint)
        self.all[self.all.index(link)] = new
        if self.only is link:
            self.only = new
        return new

    def refusal(self) -> errors.CallError:
        """Why all links are closed."""
        refusing = [link for link in self.all if link.refuses]
        if refusing:
            return errors.Unauthenticated("; ".join(dict.fromkeys(link.reason for link in refusing)))
        return self.all[0].closed_by(self.all[0].reason)

    def unavailable(self, waited: str = "") -> errors.Unavailable:
        """Why none is open that takes a call."""
        reasons = dict.fromkeys(link.reason for link in self.all if not link.open)
        if not self.all and self.searching is not None:
            reasons[self.searching()] = None
        elif any(link.open for link in self.all):
            reasons["no primary takes calls that change something"] = None
        return errors.Unavailable("; ".join(reasons) + waited, started=False)
