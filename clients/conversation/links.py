"""The client's links: each leads to one server and holds the state that the client knows of it."""

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

# Bytes of cancelled calls after which the outbox is thinned out, and the overhead counted for each
# of them: spread over 2,000 calls, a scan of the outbox costs each little.
_THIN_AT, _CALL = 1024 * 1024, 512

# Bounds of a server's weight, whatever it announces.
_LEAST, _MOST = 1e-6, 1e6


class LinkState(enum.Enum):
    DOWN = "down"  # the last attempt to connect failed, or the connection was lost
    CONNECTING = "connecting"  # no attempt has succeeded or failed yet
    GREETING = "greeting"  # connected; the Hello is on its way
    OPEN = "open"
    DRAINING = "draining"  # the server is leaving and gets no new calls
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

# Public names of the states of links that are not open, from best to worst.
_NAMES = (
    (CONNECTING, "connecting"),
    (GREETING, "connecting"),
    (DRAINING, "draining"),
    (DOWN, "down"),
)


class Link(BalancedServer):
    """A client's connection to one server. `outbox`: the messages to be sent over it."""

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
        self.unsent = 0  # bytes of items in the outbox or not yet taken by the transport
        self.given_up = 0  # bytes of calls cancelled since the outbox was thinned out
        self.unasked = 0  # unsolicited messages since the last solicited one
        # Maximum bytes of a call, if the server takes less than this client.
        self.limit: int | None = None
        self.max_messages, self.max_frames = MAX_MESSAGES, MAX_FRAMES  # of one batch
        self.max_mapped = 0  # calls in one Map
        self.methods: dict[str, MethodFlags] = {}  # as its Welcome announces
        self.once: frozenset[str] = frozenset()  # methods whose calls need a key
        self.careful = False  # whether each call must be checked against these before it is sent
        self.reason = f"no server at {endpoint}"
        self.closed_by: type[errors.CallError] = errors.ProtocolError  # once it is closed

    @property
    def refuses(self) -> bool:
        """Whether the server denies this client access."""
        return self.state is CLOSED and self.closed_by is errors.Unauthenticated

    def become(self, state: LinkState) -> bool:
        """Change to that state; False if it cannot follow the present one."""
        if state not in TRANSITIONS[self.state]:
            return False
        self.state = state
        self.open = state is OPEN
        return True

    def cancel(self, id_: int, size: int) -> None:
        """Send the server a Cancel. `size`: bytes of the call's arguments."""
        self.outbox.append(Cancel(id_))
        self.given_up += size + _CALL
        if self.given_up >= _THIN_AT:
            self._thin_out()

    def _thin_out(self) -> None:
        """Drop the messages of cancelled calls from the outbox.
        If the server reads nothing, the outbox would grow with each cancelled call. Of a call that
        was sent, only its Cancel stays."""
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
        """Handle the server's Welcome.
        `max_size`: bytes of the largest value that this client takes."""
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
    """The announced weight, within the bounds; NaN counts as the least."""
    return min(max(told, _LEAST), _MOST) if told == told else _LEAST


class Links:
    """All links of a client, in `all`.
    `searching`: gives the reason why no server is known, if a source lists the servers; None if all
    endpoints were given."""

    def __init__(self, endpoints: Sequence[str], searching: Callable[[], str] | None) -> None:
        self.all = [Link(endpoint) for endpoint in endpoints]
        self.searching = searching
        self.found = searching is None  # whether the sources have reported the existing servers
        # The only link: with one server there is no choice to make, and its load is not tracked.
        self.only = self.all[0] if len(self.all) == 1 and searching is None else None

    @property
    def state(self) -> str:
        """The state of the best link.
        "ready", "busy" (the server is alive, but does not answer yet), "stalled" (it sends
        nothing), "connecting", "draining" (it is leaving), "down", or "closed"."""
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
        """Whether no link will ever open.
        Servers from a source come and go; but if all present ones deny this client access, the next
        will too."""
        if self.searching is None:
            return all(link.state is CLOSED for link in self.all)
        return bool(self.all) and all(link.refuses for link in self.all)

    @property
    def coming(self) -> bool:
        """Whether a link may open soon."""
        return any(link.state in (CONNECTING, GREETING) for link in self.all)

    def replace(self, link: Link) -> Link:
        """A new link in place of an old one."""
        new = Link(link.endpoint)
        self.all[self.all.index(link)] = new
        if self.only is link:
            self.only = new
        return new

    def refusal(self) -> errors.CallError:
        """The error that explains why all links are closed."""
        refusing = [link for link in self.all if link.refuses]
        if refusing:
            return errors.Unauthenticated(
                "; ".join(dict.fromkeys(link.reason for link in refusing))
            )
        return self.all[0].closed_by(self.all[0].reason)

    def unavailable(self, waited: str = "") -> errors.Unavailable:
        """The error that explains why no open link takes a call."""
        reasons = dict.fromkeys(link.reason for link in self.all if not link.open)
        if not self.all and self.searching is not None:
            reasons[self.searching()] = None
        elif any(link.open for link in self.all):
            reasons["no primary is available; replicas take readonly calls only"] = None
        return errors.Unavailable("; ".join(reasons) + waited, started=False)
