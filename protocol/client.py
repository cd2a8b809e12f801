"""The client's end of the conversation: every call from `start` to its one ending, over links that come and go.

A link is the way to one server: the core says when it is up, lost, and what arrived on it, and sends what gathers in its
`outbox`. Nothing here waits or reads a clock: `now` is an argument, in seconds.

    link:  DOWN -> CONNECTING -> GREETING -> OPEN -> DRAINING      (up, welcome, drain)
           any but CLOSED -> DOWN (lost)        any -> CLOSED (a fault, or closed)
    call:  waiting for a link -> sent -> ended    (one that the server refused unstarted, or that may run twice, may wait again)
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from msgspec import Raw

from .. import errors
from ..balancing.liveness import Liveness
from ..balancing.outliers import LOOK
from ..errorlog import log_error
from .calls import OutgoingCall
from .links import Link, LinkState
from .messages import (
    Bye,
    Call,
    Credit,
    Drain,
    Drained,
    End,
    Error,
    Fault,
    FromServer,
    Item,
    Notify,
    Ping,
    Pong,
    Reached,
    Refusal,
    Reply,
    Welcome,
)
from .routing import Routing, too_large
from .values import Unpacker, size

log = logging.getLogger("ringback.client")

# Messages that may wait for a server to read them before it gets no pongs any more: it might ask for them without end.
UNREAD = 1024

# Messages in a row that nobody asked for, after which a server is not read any more. (Late answers to calls that were given up are such.)
UNASKED = 100_000

# Bytes of items that wait for the transport, from which on uploads wait too; and what each item counts for beside its value.
WAIT_AT, ITEM = 1024 * 1024, 256

# Characters of a server's text that are kept and shown.
_LONGEST = 1000

_OPEN, _CLOSED = LinkState.OPEN, LinkState.CLOSED  # looked up once (see protocol/server.py)

# What is the server's fault, or that of the way to it.
_FAILURES = frozenset(
    error.code
    for error in (
        errors.RemoteError,
        errors.DeadlineExceeded,
        errors.Unavailable,
        errors.ResourceExhausted,
        errors.ProtocolError,
    )
)


class ClientMachine(Routing):
    """All calls of one client, and what is said of them."""

    def start(self, call: OutgoingCall, now: float) -> None:
        """Send the call over an open link, or keep it until there is one. Who has made it this moment may have set its
        `message.timeout`, which saves a step."""
        message, deadline = call.message, call.deadline
        message.id = id_ = self._last_id = self._last_id + 1
        self.calls[id_] = call
        if call.weight:
            self.bytes += call.weight
        if deadline is not None and (self._next_tick is None or deadline < self._next_tick):
            self._next_tick = deadline
        link = self._only
        if link is None or call.plan is not None:
            self._now = now
            if len(self.calls) == 1 and now >= self._look_at and self._balancer is not None:
                # What the servers have said meanwhile may not have been read yet: who is silent is seen later.
                self._look_at = now + LOOK
                self._balancer.review(now)
            link = self._choose(call)
        elif link.state is not _OPEN:
            link = None
        if link is None:
            self._wait(call)
        elif message.timeout is None or link.careful or call.plan is not None:
            self._hand_over(call, link, now)
        else:
            call.link = link
            link.outbox.append(message)
            if self._balancer is not None:
                self._balancer.begun(call, link, now)

    def hold(self, call: OutgoingCall) -> None:
        """Take a call that is not sent: the answer to another will `end` it, unless it is sent after all."""
        call.message.id = self._last_id = self._last_id + 1
        call.link = self._nowhere
        if self._balancer is not None:
            self._nowhere.begun(self._now, streams=call.streams)
        self.calls[call.id] = call
        self.bytes += call.weight
        if call.deadline is not None and (self._next_tick is None or call.deadline < self._next_tick):
            self._next_tick = call.deadline

    def send(self, call: OutgoingCall, now: float) -> None:
        """Send a call that was held."""
        self._now = now
        self._send_again(call, self._choose(call), now)

    def end(self, call: OutgoingCall, result: Any, error: BaseException | None) -> None:
        """End a call that was held, if it has not ended."""
        self._end(call, result, error)

    def grant(self, call: OutgoingCall, items: int, now: float) -> None:
        """Let so many more items of a stream come."""
        if not call.ended and call.link is not None:
            self._move_deadline(call, now)
            call.allowed += items
            call.link.outbox.append(Credit(call.id, items))

    def send_item(self, call: OutgoingCall, value: Raw, now: float) -> None:
        """Send the next item of the argument that streams. Raises ResourceExhausted where it is more than the server takes."""
        link = call.link
        if not call.ended and link is not None:
            taken = size(value)
            if link.limit is not None and taken > link.limit:
                raise too_large(f"an item for {call.method} takes", taken, link)
            self._move_deadline(call, now)
            link.outbox.append(Item(call.id, value))
            link.unsent += taken + ITEM
            if link.unsent >= WAIT_AT and call.upload is not None:
                call.upload.held = True

    def link_flushed(self, link: Link) -> None:
        """The transport has taken all that was to be sent over the link: uploads that waited for that go on."""
        waited, link.unsent = link.unsent >= WAIT_AT, 0
        if waited:
            for call in list(self.calls.values()):  # to go on may end one
                if call.link is link and call.upload is not None and call.upload.held:
                    call.upload.held = False
                    call.upload.go_on()

    def end_items(self, call: OutgoingCall, now: float) -> None:
        """That was the last item of the argument that streams."""
        if not call.ended and call.link is not None:
            self._move_deadline(call, now)
            call.link.outbox.append(End(call.id))

    def close(self, error: errors.CallError) -> None:
        """End every call, and take leave of every server."""
        for call in list(self.calls.values()):
            self.cancel(call, error)
        self.notes.clear()
        for link in self.links:
            if link.state in (LinkState.OPEN, LinkState.DRAINING):
                link.outbox.append(Bye())
            link.state = LinkState.CLOSED

    def add(self, endpoint: str) -> Link:
        """A server more has been found."""
        link = Link(endpoint)
        self.links.append(link)
        self._changed()
        return link

    def remove(self, link: Link) -> None:
        """It is no longer among the servers: no new call goes there. What is there already may end, over a link that is then draining."""
        self.links.remove(link)
        self._changed()
        if link.state is LinkState.OPEN:
            link.state = LinkState.DRAINING
            link.reason = f"{link.endpoint} is no longer among the servers"
            self._take_back(link)
            link.outbox.append(Drained())
        elif link.state is not LinkState.DRAINING:
            link.state = LinkState.CLOSED
            self._refuse_impatient()

    def search_ended(self) -> None:
        """The servers that there are have been told, for the first time."""
        self.found = True
        self._refuse_impatient()

    def link_up(self, link: Link) -> None:
        """The link is connected: say hello, first of all."""
        if link.state is not LinkState.CLOSED:
            link.state = LinkState.GREETING
            link.outbox = [self._hello]

    def link_lives(self, link: Link, liveness: Liveness) -> None:
        """How far the server answers has changed."""
        link.liveness = liveness
        self._changed()

    def link_failed(self, link: Link, reason: str) -> None:
        """An attempt to connect failed; the next comes by itself."""
        if link.state is not LinkState.CLOSED:
            link.state = LinkState.DOWN
            link.reason = reason
            self._changed()
            self._refuse_impatient()

    def link_refused(self, link: Link, reason: str) -> None:
        """The server does not let this client in, or is not the one that it should be: no further attempt is made."""
        if link.state is not LinkState.CLOSED:
            link.closed_by = errors.Unauthenticated
            self._close_link(link, reason)

    def replace(self, link: Link) -> Link:
        """A new link to the endpoint of one that is draining, which keeps the calls that were sent over it."""
        new = Link(link.endpoint)
        self.links[self.links.index(link)] = new
        if self._only is link:
            self._only = new
        self._changed()
        return new

    def link_lost(self, link: Link, reason: str, now: float) -> None:
        """The connection broke, and nobody can know what became of the calls that were sent over it: they end, but for those that
        may be sent again. What still lay in the outbox may go elsewhere."""
        if link.state is not LinkState.CLOSED:
            link.state = LinkState.DOWN
            link.reason = reason
        self._now = now
        self._changed()
        self._end_all(link, errors.Unavailable(reason), now)
        self._refuse_impatient()

    def receive(self, link: Link, messages: Sequence[FromServer], values: Unpacker, now: float) -> None:
        """Deal with what a server said."""
        if link.state is _CLOSED:
            return
        calls, ending, attempts, balancer = self.calls, self.ending, self._retries.attempts, self._balancer
        unasked = link.unasked
        if balancer is not None:
            self._now = link.health.heard = now
            if link.health.asked is not None:
                balancer.heard(link, now)
        for message in messages:
            kind = type(message)
            if kind is Reply:
                call = calls.get(message.id)  # type: ignore[union-attr]
                if call is None or call.link is not link:
                    link.unasked += 1
                    continue  # late, or doubled: the call has had its ending
                if call.message.credit:
                    text = f"{call.method}: a stream was asked for, and one result came"
                    self.cancel(call, errors.ProtocolError(text))
                    continue
                try:
                    result = values.typed(message.result, call.settings.returns)  # type: ignore[union-attr]
                except BaseException as error:  # of the caller's own types, too
                    self._check_cut(call, error)
                    self._end(call, None, unreadable(call, error))
                    continue
                if balancer is not None:
                    balancer.answered(call, link, now)
                    if call.plan is not None and call.plan.hedged:
                        self._hedges.answered(call, now)
                    self._end(call, result, None)
                elif attempts or call.weight or call.upload is not None or call.passes is not None:
                    self._end(call, result, None)
                else:  # in short, on the hot path: nothing but the call itself has to know
                    ending.append(call)
                    del calls[message.id]  # type: ignore[union-attr]
                    call.ended = True
                    call.finish(result, None)
                    ending.pop()
            else:
                self._receive_rare(link, message, values, now)
        if link.unasked == unasked:
            link.unasked = 0
        elif link.unasked > UNASKED:
            self._give_up(link, f"the server has said {link.unasked:,} things that nobody asked for")

    def fault(self, link: Link, text: str) -> None:
        """The server sent what is not this protocol: tell it so, and use this link no more."""
        self._give_up(link, text)
        link.outbox = [Fault(text)]

    def spoiled(self, message: Any, error: Exception) -> None:
        """A message cannot be encoded: what it belongs to ends, and nothing else."""
        call = self.calls.get(getattr(message, "id", 0))
        if call is not None:
            text = f"{call.method}: what was to be sent cannot be encoded: {errors.described(error)}"
            if type(message) is Call:
                self._end(call, None, errors.InvalidArgument(text))
            else:
                self.cancel(call, errors.InvalidArgument(text))
        elif type(message) is Notify:
            log_error(log, "a one-way call of %s cannot be encoded", message.method, error=error)

    def _receive_rare(self, link: Link, message: FromServer, values: Unpacker, now: float) -> None:
        match message:
            case Item(id=id_):
                call = self.calls.get(id_)
                if call is not None and call.link is link and call.message.credit:
                    self._receive_item(call, message, values, now)
                else:
                    link.unasked += 1
            case End(id=id_):
                call = self.calls.get(id_)
                if call is not None and call.link is link:
                    error = None
                    if not call.message.credit:
                        error = errors.ProtocolError(
                            f"{call.method}: its answer is a stream, and none was asked for"
                        )
                    if self._balancer is not None:
                        self._balancer.ended(call, link, now)
                    self._end(call, None, error)
            case Credit(id=id_):
                call = self.calls.get(id_)
                if call is not None and call.link is link and call.upload is not None and message.items > 0:
                    self._move_deadline(call, now)
                    call.upload.credit(message.items)
            case Error(id=id_):
                call = self.calls.get(id_)
                if call is not None and call.link is link:
                    if self._balancer is not None:
                        if message.code in _FAILURES:
                            self._balancer.failed(call, link, now)
                        else:
                            self._balancer.ended(call, link, now)
                    self._end(call, None, errors.from_wire(message.code, message.kind, message.message))
            case Refusal(id=id_):
                call = self.calls.get(id_)
                if call is not None and call.link is link:
                    self._refused(call, message, now)
            case Welcome():
                if link.state is LinkState.GREETING:
                    link.opened(message, self.max_size, now)
                    self._changed()
                    self._send_waiting(now)
            case Drain():
                if link.state is LinkState.OPEN:
                    link.state = LinkState.DRAINING
                    link.reason = f"the server at {link.endpoint} is shutting down"
                    self._changed()
                    self._take_back(link)
                    link.outbox.append(Drained())
            case Bye():
                self._left_behind(link, now)
                if len(link.outbox) < UNREAD:
                    link.outbox.append(Bye())
            case Ping(token=token):
                if len(link.outbox) < UNREAD:
                    link.outbox.append(Pong(token))
            case Pong():
                link.unasked += 1
            case Reached(id=id_):
                call = self.calls.get(id_)
                if call is not None and call.link is link:
                    self._reached(call, link, message)
            case Fault(message=text):
                self._give_up(link, text if len(text) <= _LONGEST else f"{text[:_LONGEST]}...")

    def _give_up(self, link: Link, text: str) -> None:
        self._close_link(link, f"{link.endpoint}: {text}")

    def _close_link(self, link: Link, reason: str) -> None:
        link.state = LinkState.CLOSED
        link.reason = reason
        self._changed()
        self._end_all(link, link.closed_by(reason), None)
        self._refuse_impatient()
        if self._hopeless:
            for call in list(self.waiting.values()):
                self._end(call, None, self._refusal())

    def _move_deadline(self, call: OutgoingCall, now: float) -> None:
        if call.settings.timeout is not None:
            call.deadline = now + call.settings.timeout
            if call.latest is not None:
                call.deadline = min(call.deadline, call.latest)

    def _receive_item(self, call: OutgoingCall, message: Item, values: Unpacker, now: float) -> None:
        self._move_deadline(call, now)
        if not call.allowed:
            # (nobody may have taken those before it: they are kept until then)
            self.cancel(call, errors.ProtocolError(f"{call.method}: more items came than were asked for"))
            return
        call.allowed -= 1
        values.taken = 0
        try:
            item = values.typed(message.value, call.settings.returns)
        except BaseException as error:  # of the caller's own types, too
            self._check_cut(call, error)
            self.cancel(call, unreadable(call, error))
        else:
            call.item(item, len(message.value) + values.taken)

    def _check_cut(self, call: OutgoingCall, error: BaseException) -> None:
        """Raises what no value can have raised: it comes from the handler of a signal, and is for whoever reads here."""
        if call.settings.returns is Any and not errors.is_a(error, Exception):
            raise error

    def _reached(self, call: OutgoingCall, link: Link, message: Reached) -> None:
        self._session(call).saw(message.versions)
        link.reached = max(link.reached, message.versions.get(link.service, 0))


def unreadable(call: OutgoingCall, error: BaseException) -> errors.CallError:
    """What a call ends with whose result cannot be read as it is to be."""
    why = errors.described(error)
    if call.settings.returns is not Any:
        return errors.InvalidArgument(
            f"{call.method}: the result does not fit {call.settings.returns}: {why}"
        )
    return errors.ProtocolError(f"{call.method}: the result cannot be read: {why}")
