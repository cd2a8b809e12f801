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

import msgspec
from msgspec import Raw

from .. import errors
from .calls import Link, LinkState, OutgoingCall, milliseconds
from .messages import (
    Bye,
    Call,
    CallOptions,
    Cancel,
    Credit,
    Drain,
    Drained,
    End,
    Error,
    Fault,
    FromClient,
    FromServer,
    Hello,
    Item,
    Notify,
    Ping,
    Pong,
    Refusal,
    Reply,
    Welcome,
)
from .retries import Retries
from .values import UNREADABLE, Unpacker, size, size_of_arguments

log = logging.getLogger("ringback.client")

# Seconds from one look at the deadlines to the next, at least, and for each call in flight; the latter keeps the cost of looking
# below a tenth of the time.
TICK = 0.005
TICK_PER_CALL = 500e-9

# From the best to the worst.
_NAMES = (
    (LinkState.OPEN, "ready"),
    (LinkState.CONNECTING, "connecting"),
    (LinkState.GREETING, "connecting"),
    (LinkState.DRAINING, "draining"),
    (LinkState.DOWN, "down"),
)


class ClientMachine:
    """All calls of one client.

    `calls` are those that have not ended, by id; `waiting` those of them that no link could take yet, in order. Ids count up and
    are never used twice, so that a late or doubled answer finds nothing to end.
    """

    def __init__(self, endpoints: Sequence[str], instance: bytes, max_size: int, software: str = "") -> None:
        self.links = [Link(endpoint) for endpoint in endpoints]
        self._only = self.links[0] if len(self.links) == 1 else None
        self._nowhere = Link("")  # that of calls which are held
        self.calls: dict[int, OutgoingCall] = {}
        self.waiting: dict[int, OutgoingCall] = {}
        self.notes: list[Notify] = []
        self.bytes = 0  # the weight of all calls
        self.max_size = max_size
        self._hello = Hello(instance, max_size, software)
        self._next_tick: float | None = None
        self._retries = Retries()
        self._last_id = 0
        self._turn = 0

    @property
    def state(self) -> str:
        """What the best link is: "ready", "connecting", "draining" (its server is going), "down", or "closed"."""
        states = {link.state for link in self.links}
        for state, name in _NAMES:
            if state in states:
                return name
        return "closed"

    @property
    def in_flight(self) -> int:
        return len(self.calls)

    # What the client asks

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
        if link is None:
            link = self._choose()
        elif link.state is not LinkState.OPEN:
            link = None
        if link is None:
            self._wait(call)
        elif message.timeout is None or link.careful:
            self._hand_over(call, link, now)
        else:
            call.link = link
            link.outbox.append(message)

    def hold(self, call: OutgoingCall) -> None:
        """Take a call that is not sent: the answer to another will `end` it, unless it is sent after all."""
        call.message.id = self._last_id = self._last_id + 1
        call.link = self._nowhere
        self.calls[call.id] = call
        self.bytes += call.weight
        if call.deadline is not None and (self._next_tick is None or call.deadline < self._next_tick):
            self._next_tick = call.deadline

    def send(self, call: OutgoingCall, now: float) -> None:
        """Send a call that was held."""
        self._send_again(call, self._choose(), now)

    def end(self, call: OutgoingCall, result: Any, error: BaseException | None) -> None:
        """End a call that was held, if it has not ended."""
        self._end(call, result, error)

    def notify(self, note: Notify) -> None:
        """Send a one-way call over an open link, or keep it until there is one. Raises ResourceExhausted where it is more
        than the server takes."""
        link = self._choose()
        if link is None:
            self.notes.append(note)
        elif link.limit is not None and (taken := size_of_arguments(note.args, note.kwargs)) > link.limit:
            raise _too_large(f"the arguments of {note.method} take", taken, link)
        else:
            if note.method in link.once:
                note.options = self._keyed(note.options)
            link.outbox.append(note)

    def cancel(self, call: OutgoingCall, error: Exception) -> bool:
        """End the call from this side and tell the server; False if it has ended already."""
        if call.ended:
            return False
        if call.link is not None and call.link.state in (LinkState.OPEN, LinkState.DRAINING):
            call.link.outbox.append(Cancel(call.id))
        self._end(call, None, error)
        return True

    def grant(self, call: OutgoingCall, items: int, now: float) -> None:
        """Let so many more items of a stream come."""
        if not call.ended and call.link is not None:
            self._move_deadline(call, now)
            call.link.outbox.append(Credit(call.id, items))

    def send_item(self, call: OutgoingCall, value: Raw, now: float) -> None:
        """Send the next item of the argument that streams. Raises ResourceExhausted where it is more than the server takes."""
        link = call.link
        if not call.ended and link is not None:
            if link.limit is not None and (taken := size(value)) > link.limit:
                raise _too_large(f"an item for {call.method} takes", taken, link)
            self._move_deadline(call, now)
            link.outbox.append(Item(call.id, value))

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

    # What happens

    def link_up(self, link: Link) -> None:
        """The link is connected: say hello, first of all."""
        if link.state is not LinkState.CLOSED:
            link.state = LinkState.GREETING
            link.outbox = [self._hello]

    def link_failed(self, link: Link, reason: str) -> None:
        """An attempt to connect failed; the next comes by itself."""
        if link.state is not LinkState.CLOSED:
            link.state = LinkState.DOWN
            link.reason = reason
            self._refuse_impatient()

    def replace(self, link: Link) -> Link:
        """A new link to the endpoint of one that is draining, which keeps the calls that were sent over it."""
        new = Link(link.endpoint)
        self.links[self.links.index(link)] = new
        if self._only is link:
            self._only = new
        return new

    def link_lost(self, link: Link, reason: str, now: float) -> None:
        """The connection broke, and nobody can know what became of the calls that were sent over it: they end, but for those that
        may be sent again. What still lay in the outbox may go elsewhere."""
        if link.state is not LinkState.CLOSED:
            link.state = LinkState.DOWN
            link.reason = reason
        self._end_all(link, errors.Unavailable(reason), now)
        self._refuse_impatient()

    def receive(self, link: Link, messages: Sequence[FromServer], values: Unpacker, now: float) -> None:
        """Deal with what a server said."""
        calls, attempts = self.calls, self._retries.attempts
        for message in messages:
            kind = type(message)
            if kind is Reply:
                call = calls.get(message.id)  # type: ignore[union-attr]
                if call is None or call.link is not link:
                    continue  # late, or doubled: the call has had its ending
                try:
                    result = values.typed(message.result, call.settings.returns)  # type: ignore[union-attr]
                except UNREADABLE as error:
                    self._end(call, None, _unreadable(call, error))
                    continue
                if attempts or call.weight or call.upload is not None or call.passes is not None:
                    self._end(call, result, None)
                else:  # in short, on the hot path: nothing but the call itself has to know
                    del calls[message.id]  # type: ignore[union-attr]
                    call.ended = True
                    call.finish(result, None)
            else:
                self._receive_rare(link, message, values, now)

    def fault(self, link: Link, text: str) -> None:
        """The server sent what is not this protocol: tell it so, and use this link no more."""
        self._give_up(link, text)
        link.outbox = [Fault(text)]

    def tick(self, now: float) -> None:
        """End what is past its deadline.

        All calls are looked at: the oldest of many live for long, so this is seldom, and each call costs less than its place in
        a heap would.
        """
        for call in self._retries.due(now):
            self._send_again(call, self._choose(), now)
        due = [call for call in self.calls.values() if call.deadline is not None and call.deadline <= now]
        for call in due:
            if call.link is None:
                self._end(call, None, self._unavailable(f" (waited {_seconds(call)})"))
            else:
                limit = "the next item" if call.streams else "the answer"
                text = f"{call.method}: {limit} did not come within {_seconds(call)}"
                self.cancel(call, errors.DeadlineExceeded(text))
        deadlines = [call.deadline for call in self.calls.values() if call.deadline is not None]
        # Where calls expire one after the other, they are looked at together, a few milliseconds late.
        pause = max(TICK, len(deadlines) * TICK_PER_CALL)
        self._next_tick = max(min(deadlines), now + pause) if deadlines else None

    def next_tick(self) -> float | None:
        """When `tick` is due."""
        again = self._retries.next()
        if again is None or self._next_tick is None:
            return self._next_tick if again is None else again
        return min(again, self._next_tick)

    # Between the two

    def _receive_rare(self, link: Link, message: FromServer, values: Unpacker, now: float) -> None:
        match message:
            case Item(id=id_):
                call = self.calls.get(id_)
                if call is not None and call.link is link and call.message.credit:
                    self._receive_item(call, message, values, now)
            case End(id=id_):
                call = self.calls.get(id_)
                if call is not None and call.link is link:
                    self._end(call, None, None)
            case Credit(id=id_):
                call = self.calls.get(id_)
                if call is not None and call.link is link and call.upload is not None and message.items > 0:
                    self._move_deadline(call, now)
                    call.upload.credit(message.items)
            case Error(id=id_):
                call = self.calls.get(id_)
                if call is not None and call.link is link:
                    self._end(call, None, errors.from_wire(message.code, message.kind, message.message))
            case Refusal(id=id_):
                call = self.calls.get(id_)
                if call is not None and call.link is link:
                    self._refused(call, message, now)
            case Welcome():
                if link.state is LinkState.GREETING:
                    link.opened(message, self.max_size)
                    self._send_waiting(now)
            case Drain():
                if link.state is LinkState.OPEN:
                    link.state = LinkState.DRAINING
                    link.reason = f"the server at {link.endpoint} is shutting down"
                    self._take_back(link)
                    link.outbox.append(Drained())
            case Bye():
                self._left_behind(link, now)
                link.outbox.append(Bye())
            case Ping(token=token):
                link.outbox.append(Pong(token))
            case Fault(message=text):
                self._give_up(link, text)
            case _:
                pass  # a Pong that nobody waits for

    def _give_up(self, link: Link, text: str) -> None:
        link.state = LinkState.CLOSED
        link.reason = f"{link.endpoint}: {text}"
        error = errors.ProtocolError(link.reason)
        self._end_all(link, error, None)
        self._refuse_impatient()
        if all(other.state is LinkState.CLOSED for other in self.links):
            for call in list(self.waiting.values()):
                self._end(call, None, error)

    def _end_all(self, link: Link, error: errors.CallError, now: float | None) -> None:
        """End the calls that were sent over the link, or send them again if there is a time for it; those that still lie in its
        outbox may go elsewhere."""
        outbox, link.outbox = link.outbox, []
        unsent = {message.id for message in outbox if type(message) is Call}
        for call in [call for call in self.calls.values() if call.link is link]:
            if call.ended:
                continue  # the end of another took it along
            if call.id in unsent:
                self._send_again(call, self._choose(), None)
            elif now is None or not self._may_run_twice(call, link) or not self._retry(call, now):
                self._end(call, None, error)
        self._notify_again(outbox)

    def _move_deadline(self, call: OutgoingCall, now: float) -> None:
        if call.settings.timeout is not None:
            call.deadline = now + call.settings.timeout
            if call.latest is not None:
                call.deadline = min(call.deadline, call.latest)

    def _receive_item(self, call: OutgoingCall, message: Item, values: Unpacker, now: float) -> None:
        self._move_deadline(call, now)
        try:
            call.item(values.typed(message.value, call.settings.returns))
        except UNREADABLE as error:
            self.cancel(call, _unreadable(call, error))

    def _take_back(self, link: Link) -> None:
        """What has not been sent over a link need not be refused by a server that is going."""
        outbox, link.outbox = link.outbox, []
        for message in outbox:
            if type(message) is Call:
                call = self.calls.get(message.id)
                if call is not None:
                    self._send_again(call, self._choose(), None)
            elif type(message) is not Notify:
                link.outbox.append(message)
        self._notify_again(outbox)

    def _refused(self, call: OutgoingCall, message: Refusal, now: float) -> None:
        unstarted = message.started is False and message.code == errors.Unavailable.code
        if call.upload is not None and call.upload.allowed:
            unstarted = False  # some of its items may be gone
        if unstarted and self._retries.allow(call):
            # To another server at once; to the same one, where it has come back.
            self._send_again(call, self._choose(but=call.link) or self._choose(), now)
        else:
            self._end(call, None, errors.from_wire(message.code, "", message.message, message.started))

    def _left_behind(self, link: Link, now: float) -> None:
        """The server has answered all that it had accepted: what is left it has refused, or will never read."""
        for call in [call for call in self.calls.values() if call.link is link]:
            if not call.ended:
                text = f"the server at {link.endpoint} is shutting down"
                self._refused(call, Refusal(call.id, errors.Unavailable.code, text, started=False), now)

    def _may_run_twice(self, call: OutgoingCall, link: Link) -> bool:
        """Whether the method says so, and not too many calls have been sent twice of late."""
        flags = None if link.welcome is None else link.welcome.methods.get(call.method)
        if flags is None or call.streams or not (flags.idempotent or flags.readonly or flags.once):
            return False
        return self._retries.spend(self._last_id)

    def _retry(self, call: OutgoingCall, now: float) -> bool:
        """Send the call again after a while, if it has the time and an attempt left."""
        if not self._retries.delay(call, now):
            return False
        call.link = None
        return True

    def _send_again(self, call: OutgoingCall, link: Link | None, now: float | None) -> None:
        """Under a new id: the old one may have been seen."""
        del self.calls[call.id]
        call.message = msgspec.structs.replace(call.message, id=self._last_id + 1)
        self._last_id += 1
        self.calls[call.id] = call
        if link is None:
            self._wait(call)
        else:
            self._hand_over(call, link, now)

    def _hand_over(self, call: OutgoingCall, link: Link, now: float | None) -> None:
        """Put a call that could not be sent at once into the link's outbox, with the time it has left."""
        message, deadline = call.message, call.deadline
        # (that of a stream bounds the gaps between items, which only the client can see)
        if deadline is not None and not call.streams and now is not None:
            message.timeout = milliseconds(deadline - now)
        if link.limit is not None:
            taken = size_of_arguments(message.args, message.kwargs)
            if taken > link.limit:
                self._end(call, None, _too_large(f"the arguments of {call.method} take", taken, link))
                return
        if message.method in link.once:
            message.options = self._keyed(message.options)
        call.link = link
        link.outbox.append(message)

    def _keyed(self, options: CallOptions | None) -> CallOptions:
        """The options with a key, under which the server runs a call once, however often it is sent."""
        if options is None:
            options = CallOptions()
        if options.key is not None:
            return options
        self._last_id += 1
        return msgspec.structs.replace(options, key=f"{self._hello.instance.hex()}-{self._last_id}")

    def _send_waiting(self, now: float) -> None:
        waiting, self.waiting = self.waiting, {}
        for call in waiting.values():
            link = self._choose()
            if link is None:
                self._wait(call)
            else:
                self._hand_over(call, link, now)
        notes, self.notes = self.notes, []
        self._notify_again(notes)

    def _notify_again(self, notes: Sequence[FromClient]) -> None:
        for note in notes:
            if type(note) is Notify:
                try:
                    self.notify(note)
                except errors.ResourceExhausted as error:
                    log.warning("a one-way call was not sent: %s", error)

    def _choose(self, but: Link | None = None) -> Link | None:
        """The next open link in turn."""
        links = self.links
        if len(links) == 1:
            link = links[0]
            return link if link.state is LinkState.OPEN and link is not but else None
        for _ in range(len(links)):
            self._turn = (self._turn + 1) % len(links)
            link = links[self._turn]
            if link.state is LinkState.OPEN and link is not but:
                return link
        return None

    def _wait(self, call: OutgoingCall) -> None:
        call.link = None
        hopeful = call.settings.wait_for_ready and any(
            link.state is not LinkState.CLOSED for link in self.links
        )
        if hopeful or any(link.state in (LinkState.CONNECTING, LinkState.GREETING) for link in self.links):
            self.waiting[call.id] = call
        elif all(link.state is LinkState.CLOSED for link in self.links):
            self._end(call, None, errors.ProtocolError(self.links[0].reason))
        else:
            self._end(call, None, self._unavailable())

    def _refuse_impatient(self) -> None:
        for call in [call for call in self.waiting.values() if not call.settings.wait_for_ready]:
            if self.waiting.pop(call.id, None) is call:
                self._wait(call)

    def _unavailable(self, waited: str = "") -> errors.Unavailable:
        reasons = dict.fromkeys(link.reason for link in self.links if link.state is not LinkState.OPEN)
        return errors.Unavailable("; ".join(reasons) + waited, started=False)

    def _end(self, call: OutgoingCall, result: Any, error: BaseException | None) -> None:
        if call.ended:
            return
        call.ended = True
        if self.calls.pop(call.id, None) is not None:
            self.bytes -= call.weight
        self.waiting.pop(call.id, None)
        if self._retries.attempts:
            self._retries.attempts.pop(call, None)
        if call.upload is not None:
            call.upload.stop()
        call.conclude(result, error)


def _too_large(what: str, taken: int, link: Link) -> errors.ResourceExhausted:
    return errors.ResourceExhausted(
        f"{what} {taken:,} bytes; the server at {link.endpoint} takes {link.limit:,}"
    )


def _seconds(call: OutgoingCall) -> str:
    return (
        f"{call.settings.timeout:g} s"
        if call.settings.timeout is not None
        else "the time its caller had left"
    )


def _unreadable(call: OutgoingCall, error: Exception) -> errors.CallError:
    if isinstance(error, msgspec.MsgspecError) and call.settings.returns is not Any:
        return errors.InvalidArgument(
            f"{call.method}: the result does not fit {call.settings.returns}: {error}"
        )
    return errors.ProtocolError(f"{call.method}: the result cannot be read: {error}")
