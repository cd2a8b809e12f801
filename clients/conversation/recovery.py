"""What becomes of calls whose server refuses them, goes, is lost or says nothing; and calls that are sent to a second server."""

from __future__ import annotations

from ... import errors
from ...protocol.messages import Call, Notify, Ping, Refusal
from .calls import ENDED, Duplicate, OutgoingCall
from .links import CLOSED, Link
from .sending import Sender
from .table import CallTable


class Recovery:
    """Of one client's calls."""

    def __init__(self, table: CallTable, sender: Sender) -> None:
        self._table = table
        self._sender = sender

    def give_up(self, link: Link, text: str) -> None:
        """A server has done wrong: it is not used any more."""
        self.close(link, f"{link.endpoint}: {text}")

    def close(self, link: Link, reason: str) -> None:
        """Use a link no more, for that reason."""
        link.become(CLOSED)
        link.reason = reason
        self._table.links_changed()
        self.lost(link, link.closed_by(reason), None)
        self._sender.look_at_waiting()

    def refused(self, call: OutgoingCall, message: Refusal, now: float) -> None:
        """The server has not begun the call, or says that it may have."""
        table, link = self._table, call.link
        assert link is not None
        full = message.code == errors.ResourceExhausted.code
        if full and table.balancer is not None:
            table.balancer.failed(call, link, now)
        unstarted = message.started is False
        if unstarted and table.goes_on_as_duplicate(call):
            return
        again = unstarted and message.code == errors.Unavailable.code
        if again and link.role == "replica":
            call.extended().primary = True  # it may have been too far behind
        elsewhere: Link | None = None
        if (upload := call.upload) is not None and upload.allowed:
            again = False  # some of its items may be gone
        elif again:
            elsewhere = self._sender.choose(call, but=link)
        elif full and unstarted and not call.stays and table.balancer is not None:
            # Another may have room; but where all are full, twice as many calls would be of no help.
            elsewhere = self._sender.choose(call, but=link)
            again = elsewhere is not None and table.retries.spend(table.started)
        if again and not call.stays and table.retries.allow(call):
            table.sent_again(call, message.code)
            # To another server at once; to the same one, where it has come back.
            self._sender.send_again(call, now, elsewhere)
        else:
            table.end(call, None, errors.from_wire(message.code, "", message.message, message.started))

    def left_behind(self, link: Link, now: float) -> None:
        """The server has answered all that it had accepted: what is left it has refused, or will never read."""
        text = f"the server at {link.endpoint} is shutting down"
        for call in self._table.at(link):
            if call.state is not ENDED:
                self.refused(call, Refusal(call.id, errors.Unavailable.code, text, started=False), now)

    def take_back(self, link: Link) -> None:
        """Calls that have not been sent over a link need not be refused by a server that is going."""
        outbox, link.outbox = link.outbox, []
        for message in outbox:
            if isinstance(message, Call):
                call = self._table.calls.get(message.id)
                if call is not None:
                    self._send_unsent(call, link)
            elif type(message) is not Notify:
                link.outbox.append(message)
        self._sender.notify_again(outbox)

    def lost(self, link: Link, error: errors.CallError, now: float | None) -> None:
        """End the calls that were sent over the link, or send them again if there is a time for it; those that still lie in its
        outbox may go elsewhere."""
        table = self._table
        outbox, link.outbox = link.outbox, []
        unsent = {message.id for message in outbox if isinstance(message, Call)}
        for call in table.at(link):
            if call.state is ENDED:
                continue  # the end of another took it along
            if call.id in unsent:
                self._send_unsent(call, link)
            elif table.goes_on_as_duplicate(call):
                pass
            elif now is None or not _is_repeatable(call, link) or not table.pause(call, now):
                table.end(call, None, error)
        self._sender.notify_again(outbox)

    def send_due(self, now: float) -> None:
        """Send the calls again whose pause is over."""
        for call in self._table.retries.due(now, self._table.started):
            self._sender.send_again(call, now)

    def hedge_due(self, now: float) -> None:
        """Send calls that take their time to another server as well."""
        for call in self._table.hedging.due(now):
            if not call.stays and call.extended().duplicate is None:
                other = self._sender.choose(call, but=call.link)
                if other is not None:
                    self._sender.hand_over(self._table.duplicate(call), other, now)

    def look_at_servers(self, now: float) -> None:
        """Ask the servers that have said nothing for a while; those that have not answered that are silent."""
        assert self._table.balancer is not None
        ask, silent = self._table.balancer.look(now)
        for link in ask:
            link.outbox.append(Ping(0))
            link.unasked -= 1  # as its pong will count
        for link in silent:
            self._fell_silent(link, now)

    def _fell_silent(self, link: Link, now: float) -> None:
        """Calls that may run twice are sent to another server; the rest waits for this one, or for its connection to break."""
        table = self._table
        for call in table.at(link):
            if call.state is ENDED:
                continue  # the end of another took it along
            id_ = call.id
            if table.goes_on_as_duplicate(call):
                link.cancel(id_, call.size)
                continue
            other = self._sender.choose(call, but=link)
            if other is not None and self._may_run_twice(call, link) and table.retries.allow(call):
                link.cancel(id_, call.size)
                self._sender.send_again(call, now, other)

    def _send_unsent(self, call: OutgoingCall, link: Link) -> None:
        """It has lain in the outbox of a link that takes no more."""
        if type(call) is Duplicate:
            self._table.end(call, None, errors.Unavailable(link.reason, started=False))
        elif not self._table.goes_on_as_duplicate(call):
            self._sender.send_again(call, None)

    def _may_run_twice(self, call: OutgoingCall, link: Link) -> bool:
        """Whether the method says so, and not too many calls have been sent twice of late."""
        return _is_repeatable(call, link) and self._table.retries.place(call, self._table.started)


def _is_repeatable(call: OutgoingCall, link: Link) -> bool:
    """Whether its method may run again that may have run."""
    flags = link.methods.get(call.method)
    if flags is None or call.streams or call.stays:
        return False
    return flags.idempotent or flags.readonly or flags.once
