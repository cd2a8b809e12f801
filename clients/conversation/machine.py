"""The client's protocol machine, as the core uses it.
It never waits or reads a clock: `now` is an argument, in seconds.

A link leads to one server. The core reports that it is up or lost, passes on the messages that
arrived, and sends the messages in its `outbox`. `links.py` and `calls.py` define the states of
links and calls and their transitions.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from msgspec import Raw

from ... import errors
from ...balancing.balancer import Balancer
from ...balancing.liveness import Liveness
from ...balancing.outliers import LOOK, Ejection
from ...balancing.policies import Policy
from ...balancing.versions import Versions
from ...logs.errorlog import log_error
from ...protocol.messages import Bye, Call, Credit, Drained, End, Fault, Hello, Item, Notify
from ...protocol.values import size
from .calls import HELD, NEW, PAUSED, SENT, WAITING, OutgoingCall
from .links import CLOSED, DOWN, DRAINING, GREETING, OPEN, Link, Links
from .receiving import Receiver, move_deadline
from .recovery import Recovery
from .sending import Sender, too_large
from .table import CallTable

log = logging.getLogger("ringback.client")

# Minimum seconds between two checks of the deadlines, and the seconds added for each call in
# flight. The second keeps the cost of the checks below a tenth of the time.
TICK = 0.005
TICK_PER_CALL = 500e-9

# Bytes of items waiting for the transport at which uploads pause; the overhead counted for each
# item.
WAIT_AT, ITEM = 1024 * 1024, 256


class ClientMachine:
    """All calls of one client, and its handling of the servers' messages."""

    def __init__(
        self,
        endpoints: Sequence[str],
        instance: bytes,
        max_size: int,
        software: str = "",
        *,
        policy: Policy | None = None,
        zone: str = "",
        ejection: Ejection | None = None,
        searching: Callable[[], str] | None = None,
    ) -> None:
        self.max_size = max_size
        self.versions = Versions()  # seen by the calls of this client
        self._links = Links(endpoints, searching)
        self.links = self._links.all
        balancer: Balancer[Link] | None = None
        if self._links.only is None:
            balancer = Balancer(self.links, self.versions, policy, zone, ejection or Ejection())
        self._balancer = balancer
        self.balances = balancer is not None  # whether there is a choice among servers
        self.table = CallTable(balancer)
        self.calls = self.table.calls
        self.ending = self.table.ending
        self._sender = Sender(self._links, self.table, self.versions, instance)
        self._recovery = Recovery(self.table, self._sender)
        self.receive = Receiver(self.table, self._sender, self._recovery, max_size).receive
        self.notify = self._sender.notify
        self.cancel = self.table.cancel
        self.end = self.table.end  # of a held call
        self._hello = Hello(instance, max_size, software)
        self._look_at = 0.0
        self.next_deadline = math.inf  # no later than that of any call

    @property
    def state(self) -> str:
        """The state of the best link, as `Links.state`."""
        return self._links.state

    @property
    def found(self) -> bool:
        """Whether the sources have reported the existing servers."""
        return self._links.found

    @property
    def notes(self) -> list[Notify]:
        """One-way calls that wait for a link."""
        return self._sender.notes

    # Calls

    def start_all(self, calls: Iterable[OutgoingCall], now: float) -> None:
        """Send each call that has not ended over an open link, or keep it until a link opens.
        A caller that has just made the call may have set its `message.timeout`, which saves a step.
        """
        table, link = self.table, self._links.only
        plain = link is not None and link.open and not link.careful
        for call in calls:
            if call.state is not NEW:
                continue
            message, deadline = call.message, call.deadline
            if not message.id:  # otherwise an earlier start of it was cut
                message.id = table.last_id = table.last_id + 1
                table.calls[message.id] = call
                if call.extras is not None:
                    table.bytes += call.extras.size
                    if call.extras.mapped is not None:
                        table.more += call.extras.mapped.more
            if deadline is not None and deadline < self.next_deadline:
                self.next_deadline = deadline
            if plain and call.extras is None and message.timeout is not None:
                call.state, call.link = SENT, link
                link.outbox.append(message)  # type: ignore[union-attr] # `plain` implies a link
            else:
                self._start(call, now)

    def _start(self, call: OutgoingCall, now: float) -> None:
        """Start a call by the slow path."""
        self.table.now = now
        if len(self.calls) == 1 and now >= self._look_at and self._balancer is not None:
            # The servers' messages may still be unread, so only `tick` looks for silent servers.
            self._look_at = now + LOOK
            self._balancer.review(now)
        self._sender.route(call, now)

    def hold(self, call: OutgoingCall) -> None:
        """Register a call without sending it.
        The reply to another call will `end` it, unless it is sent later."""
        table = self.table
        call.state = HELD
        call.message.id = table.last_id = table.last_id + 1
        self.calls[call.id] = call
        table.bytes += call.size
        if call.deadline is not None and call.deadline < self.next_deadline:
            self.next_deadline = call.deadline

    def send(self, call: OutgoingCall, now: float) -> None:
        """Send a held call."""
        self.table.now = now
        self._sender.send_again(call, now)

    def grant(self, call: OutgoingCall, items: int, now: float) -> None:
        """Give the server credit for `items` more items."""
        if not call.ended and call.link is not None:
            move_deadline(call, now)
            call.allowed += items
            call.link.outbox.append(Credit(call.id, items))

    def send_item(self, call: OutgoingCall, value: Raw, now: float) -> None:
        """Send the next item of the streaming argument.
        Raises ResourceExhausted for an item over the server's limit."""
        link = call.link
        if not call.ended and link is not None:
            taken = size(value)
            if link.limit is not None and taken > link.limit:
                raise too_large(f"an item for {call.method} takes", taken, link)
            move_deadline(call, now)
            link.outbox.append(Item(call.id, value))
            link.unsent += taken + ITEM
            if link.unsent >= WAIT_AT and (upload := call.upload) is not None:
                upload.held = True

    def end_items(self, call: OutgoingCall, now: float) -> None:
        """Send the end of the streaming argument."""
        if not call.ended and call.link is not None:
            move_deadline(call, now)
            call.link.outbox.append(End(call.id))

    def spoiled(self, message: Any, error: Exception) -> None:
        """End the call of a message that cannot be encoded; all other calls go on."""
        call = self.calls.get(getattr(message, "id", 0))
        if call is not None:
            text = f"{call.method}: its message cannot be encoded: {errors.described(error)}"
            if type(message) is Call:
                self.table.end(call, None, errors.InvalidArgument(text))
            else:
                self.table.cancel(call, errors.InvalidArgument(text))
        elif type(message) is Notify:
            log_error(log, "a one-way call of %s cannot be encoded", message.method, error=error)

    def close(self, error: errors.CallError) -> None:
        """End every call, and send every server a Bye."""
        for call in list(self.calls.values()):
            self.table.cancel(call, error)
        self._sender.notes.clear()
        for link in self.links:
            if link.state in (OPEN, DRAINING):
                link.outbox.append(Bye())
            link.become(CLOSED)

    # Time

    def tick(self, now: float) -> None:
        """End the calls whose deadline has passed.

        It checks all calls. Since the oldest of many calls live long, this is rare, and it costs
        each call less than a place in a heap would.
        """
        self.table.now = now
        self._recovery.send_due(now)
        if self._balancer is not None:
            if now >= self._look_at:
                self._look_at = now + LOOK
                self._recovery.look_at_servers(now)
            self._recovery.hedge_due(now)
        if now < self.next_deadline:
            return
        due = [
            call
            for call in self.calls.values()
            if call.deadline is not None and call.deadline <= now
        ]
        for call in due:
            if not call.ended:  # it may have ended with its duplicate
                self._expire(call, now)
        deadlines = [call.deadline for call in self.calls.values() if call.deadline is not None]
        # Calls that expire one after the other are checked together, a few milliseconds late.
        pause = max(TICK, len(deadlines) * TICK_PER_CALL)
        self.next_deadline = max(min(deadlines), now + pause) if deadlines else math.inf

    def _expire(self, call: OutgoingCall, now: float) -> None:
        if call.state in (WAITING, PAUSED):
            self.table.end(call, None, self._links.unavailable(f" (waited {_seconds(call)})"))
            return
        limit = "the next item" if call.streams else "the reply"
        if self._balancer is not None and call.link is not None:
            self._balancer.failed(call, call.link, now)
        text = f"{call.method}: {limit} did not come within {_seconds(call)}"
        self.table.cancel(call, errors.DeadlineExceeded(text))

    def next_tick(self) -> float:
        """The time at which `tick` is due, or infinity."""
        due = [self.next_deadline, self.table.retries.next()]
        if self._balancer is not None:
            due.append(self.table.hedging.next())
            if self.calls:
                due.append(self._look_at)
        return min(each for each in due if each is not None)

    # Links

    def add(self, endpoint: str) -> Link:
        """Add a link to a server that was found."""
        link = Link(endpoint)
        self.links.append(link)
        self.table.links_changed()
        return link

    def remove(self, link: Link) -> None:
        """Remove a server: it gets no new calls.
        Its calls in flight may finish over the link, which is then draining."""
        self.links.remove(link)
        self.table.links_changed()
        if link.become(DRAINING):
            link.reason = f"{link.endpoint} is no longer among the servers"
            self._recovery.take_back(link)
            link.outbox.append(Drained())
        elif link.state is not DRAINING:
            link.become(CLOSED)
            self._sender.look_at_waiting()

    def replace(self, link: Link) -> Link:
        """A new link to a draining link's endpoint.
        The old link keeps the calls that were sent over it."""
        new = self._links.replace(link)
        self.table.links_changed()
        return new

    def search_ended(self) -> None:
        """The sources have reported the existing servers for the first time."""
        self._links.found = True
        self._sender.look_at_waiting()

    def link_up(self, link: Link) -> None:
        """The link is connected: send Hello first."""
        if link.become(GREETING):
            link.outbox = [self._hello]

    def link_lives(self, link: Link, liveness: Liveness) -> None:
        """The liveness of the link's server has changed."""
        link.liveness = liveness
        self.table.links_changed()

    def link_failed(self, link: Link, reason: str) -> None:
        """An attempt to connect failed; the transport retries by itself."""
        if link.become(DOWN):
            link.reason = reason
            self.table.links_changed()
            self._sender.look_at_waiting()

    def link_flushed(self, link: Link) -> None:
        """The transport has taken all items of the link: uploads that waited for this resume."""
        waited, link.unsent = link.unsent >= WAIT_AT, 0
        if waited:
            for call in self.table.at(link):  # `go_on` may end one
                if (upload := call.upload) is not None and upload.held:
                    upload.held = False
                    upload.go_on()

    def link_refused(self, link: Link, reason: str) -> None:
        """The server denied this client access, or has the wrong key: make no further attempt."""
        if link.state is not CLOSED:
            link.closed_by = errors.Unauthenticated
            self._recovery.close(link, reason)

    def link_lost(self, link: Link, reason: str, now: float) -> None:
        """The connection broke.
        The calls sent over it have an unknown fate: they end, unless they may be sent again. Calls
        still in the outbox may go elsewhere."""
        if link.become(DOWN):
            link.reason = reason
        self.table.now = now
        self.table.links_changed()
        self._recovery.lost(link, errors.Unavailable(reason), now)
        self._sender.look_at_waiting()

    def fault(self, link: Link, text: str) -> None:
        """The server violated the protocol: send it a Fault and close the link."""
        self._recovery.give_up(link, text)
        link.outbox = [Fault(text)]


def _seconds(call: OutgoingCall) -> str:
    timeout = call.settings.timeout
    if timeout is None or (not call.streams and call.extras is not None and call.extras.inherits):
        return "the time its caller had left"
    return f"{timeout:g} s"
