"""Sends calls: chooses a link for each, adds its options, keeps the calls that wait for a link."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import msgspec

from ... import errors
from ...balancing.versions import SeenVersions, Versions
from ...protocol.messages import Call, CallOptions, FromClient, Notify
from ...protocol.values import size_of_arguments
from .calls import ENDED, SENT, OutgoingCall, milliseconds
from .links import CLOSED, CONNECTING, GREETING, Link, Links
from .maps import NotTaken
from .table import CallTable

log = logging.getLogger("ringback.client")


class Sender:
    """Sends the calls of one client.
    `notes` are one-way calls that wait for a link. `instance` identifies the client and is the base
    of its keys; `versions` are those that its calls have seen."""

    def __init__(self, links: Links, table: CallTable, versions: Versions, instance: bytes) -> None:
        self.notes: list[Notify] = []
        self._links = links
        self._table = table
        self._versions = versions
        self._instance = instance

    def choose(self, call: OutgoingCall, but: Link | None = None) -> Link | None:
        """An open link for the call, other than `but`; None if there is none."""
        extras, balancer = call.extras, self._table.balancer
        if extras is not None and extras.only is not None:
            link: Link | None = extras.only
        elif balancer is not None:
            return balancer.choose(call.method, extras, self._table.now, but)
        else:
            link = self._links.only
        return link if link is not None and link.open and link is not but else None

    def route(self, call: OutgoingCall, now: float | None) -> None:
        """Send a call, or let it wait for a link."""
        link = self.choose(call)
        if link is None:
            self.wait(call)
        else:
            self.hand_over(call, link, now)

    def send_again(self, call: OutgoingCall, now: float | None, link: Link | None = None) -> None:
        """Send the call again, over `link` if given."""
        self._table.renumber(call)
        if link is None:
            self.route(call, now)
        else:
            self.hand_over(call, link, now)

    def wait(self, call: OutgoingCall) -> None:
        """Let the call wait for a link, or end it if none can come."""
        only, links = None if call.extras is None else call.extras.only, self._links
        if only is not None:
            if only.state in (CONNECTING, GREETING):
                self._table.wait(call)
            else:
                error = errors.Unauthenticated(only.reason) if only.refuses else None
                self._fail(call, error or errors.Unavailable(only.reason, started=False))
        elif (
            (call.settings.wait_for_ready and not links.hopeless) or links.coming or not links.found
        ):
            self._table.wait(call)
        elif links.all and all(link.state is CLOSED for link in links.all):
            self._fail(call, links.refusal())
        else:
            self._fail(call, links.unavailable())

    def _fail(self, call: OutgoingCall, error: errors.CallError) -> None:
        call.link = None
        self._table.end(call, None, error)

    def send_waiting(self, now: float) -> None:
        """Send the waiting calls: a link has opened."""
        table = self._table
        waiting, table.waiting = table.waiting, {}
        table.now = now
        # Their ids must rise: a server ignores an id below the last that it has seen. A call may
        # have been queued again at the end.
        for call in sorted(waiting.values(), key=_by_id):
            if call.state is not ENDED:  # the end of another call may have ended it
                self.route(call, now)
        notes, self.notes = self.notes, []
        self.notify_again(notes)

    def look_at_waiting(self) -> None:
        """Check the waiting calls after a change of the links.
        Calls with `wait_for_ready=False` end if no link is coming; all calls end if none will ever
        open."""
        table = self._table
        for call in list(table.waiting.values()):
            impatient = call.stays or not call.settings.wait_for_ready
            if impatient and table.waiting.pop(call.id, None) is call:
                self.wait(call)
        if self._links.hopeless:
            for call in list(table.waiting.values()):
                table.end(call, None, self._links.refusal())

    def hand_over(self, call: OutgoingCall, link: Link, now: float | None) -> None:
        """Put the call into the link's outbox, with its remaining time."""
        message, deadline, extras, table = call.message, call.deadline, call.extras, self._table
        if (
            extras is not None
            and extras.mapped is not None
            and not extras.mapped.fits(link, message)
        ):
            table.end(call, None, NotTaken())
            return
        # (a stream's timeout bounds the gaps between items, and only the client sees these)
        if deadline is not None and not call.streams and now is not None:
            if deadline <= now:
                text = f"{call.method}: its deadline passed before it was sent"
                table.end(call, None, errors.DeadlineExceeded(text))
                return
            message.timeout = milliseconds(deadline - now)
        if link.limit is not None:
            taken = _taken(message)
            if taken > link.limit:
                table.end(
                    call, None, too_large(f"the arguments of {call.method} take", taken, link)
                )
                return
        if message.method in link.once:
            message.options = self._keyed(message.options)
        if link.role or (extras is not None and extras.session is not None):
            message.options = _dated(message.options, self.session(call).versions)
        call.state, call.link = SENT, link
        link.outbox.append(message)
        balancer = table.balancer
        if balancer is not None:
            now = table.now if now is None else now
            balancer.begun(call, link, now)
            hedged = extras is not None and extras.hedged and not call.streams
            if hedged and balancer.is_readonly(call.method):
                table.hedging.sent(call, now)

    def session(self, call: OutgoingCall) -> SeenVersions:
        """The session of the call: the client's, unless it has its own."""
        return self._versions if call.extras is None else call.extras.session or self._versions

    def notify(self, note: Notify) -> None:
        """Send a one-way call over an open link, or keep it until one opens.
        Raises ResourceExhausted if it is over the server's limit."""
        balancer = self._table.balancer
        if balancer is not None:
            link = balancer.choose(note.method, None, self._table.now, trial=False)
        else:
            link = self._links.only
        if link is None or not link.open:
            self.notes.append(note)
        elif link.limit is not None and (taken := _taken(note)) > link.limit:
            raise too_large(f"the arguments of {note.method} take", taken, link)
        else:
            if note.method in link.once:
                note.options = self._keyed(note.options)
            link.outbox.append(note)

    def notify_again(self, outbox: Sequence[FromClient]) -> None:
        """Send the one-way calls of an unsent outbox."""
        for note in outbox:
            if type(note) is Notify:
                try:
                    self.notify(note)
                except errors.ResourceExhausted as error:
                    log.warning("one-way call dropped: %s", error)

    def _keyed(self, options: CallOptions | None) -> CallOptions:
        """The options with a key: the server runs the call once, however often it is sent."""
        if options is None:
            options = CallOptions()
        if options.key is not None:
            return options
        return msgspec.structs.replace(
            options, key=f"{self._instance.hex()}-{self._table.another_id()}"
        )


def _dated(options: CallOptions | None, versions: dict[str, int] | None) -> CallOptions:
    """The options with the versions that the caller has seen.
    They are copied: other threads may add to them while a handler is the caller."""
    return msgspec.structs.replace(options or CallOptions(), versions=dict(versions or {}))


def too_large(what: str, taken: int, link: Link) -> errors.ResourceExhausted:
    return errors.ResourceExhausted(
        f"{what} {taken:,} bytes; the server at {link.endpoint} takes {link.limit:,}"
    )


def _taken(message: Call | Notify) -> int:
    """Bytes of a call's arguments, keyword names and options."""
    names = sum(len(name.encode()) for name in message.kwargs) if message.kwargs else 0
    beside = 0 if message.options is None else len(msgspec.msgpack.encode(message.options))
    return size_of_arguments(message.args, message.kwargs) + names + beside


def _by_id(call: OutgoingCall) -> int:
    return call.id
