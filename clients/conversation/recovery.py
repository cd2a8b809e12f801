"""Recovers calls whose server refuses them, leaves, is lost or falls silent. Sends hedged calls."""

from __future__ import annotations

from ... import errors
from ...protocol.messages import Call, Notify, Ping, Refusal
from .calls import ENDED, Duplicate, OutgoingCall
from .links import CLOSED, Link
from .sending import Sender
from .table import CallTable


class Recovery:
    """Recovers the calls of one client."""

    def __init__(self, table: CallTable, sender: Sender) -> None:
        self._table = table
        self._sender = sender

    def give_up(self, link: Link, text: str) -> None:
        """Close a link after a fault of its server."""
        self.close(link, f"{link.endpoint}: {text}")

    def close(self, link: Link, reason: str) -> None:
        """Close a link for that reason, and end or resend its calls."""
        link.become(CLOSED)
        link.reason = reason
        self._table.links_changed()
        self.lost(link, link.closed_by(reason), None)
        self._sender.look_at_waiting()

    def refused(self, call: OutgoingCall, message: Refusal, now: float) -> None:
        """The server has refused the call. `message.started`: whether the call may have begun."""
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
            call.extended().primary = True  # the replica may have lagged behind
        elsewhere: Link | None = None
        if (upload := call.upload) is not None and upload.allowed:
            again = False  # some of its items may have been sent
        elif again:
            elsewhere = self._sender.choose(call, but=link)
        elif full and unstarted and not call.stays and table.balancer is not None:
            # Another server may have room; but if all are full, twice as many calls would not help.
            elsewhere = self._sender.choose(call, but=link)
            again = elsewhere is not None and table.retries.spend(table.started)
        if again and not call.stays and table.retries.allow(call):
            table.sent_again(call, message.code)
            # To another server at once, or to the same one if it has come back.
            self._sender.send_again(call, now, elsewhere)
        else:
            table.end(
                call, None, errors.from_wire(message.code, "", message.message, message.started)
            )

    def left_behind(self, link: Link, now: float) -> None:
        """Refuse the remaining calls of a server that has drained: it will never answer them."""
        text = f"the server at {link.endpoint} is shutting down"
        for call in self._table.at(link):
            if call.state is not ENDED:
                self.refused(
                    call, Refusal(call.id, errors.Unavailable.code, text, started=False), now
                )

    def take_back(self, link: Link) -> None:
        """Reroute the unsent calls of a link whose server is leaving: it need not refuse them."""
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
        """End or retry the calls that were sent over the link.
        Those still in its outbox may go elsewhere. `now`: None if none may be retried."""
        table = self._table
        outbox, link.outbox = link.outbox, []
        unsent = {message.id for message in outbox if isinstance(message, Call)}
        for call in table.at(link):
            if call.state is ENDED:
                continue  # the end of another call ended it
            if call.id in unsent:
                self._send_unsent(call, link)
            elif table.goes_on_as_duplicate(call):
                pass
            elif now is None or not _is_repeatable(call, link) or not table.pause(call, now):
                table.end(call, None, error)
        self._sender.notify_again(outbox)

    def send_due(self, now: float) -> None:
        """Send the calls whose pause is over."""
        for call in self._table.retries.due(now, self._table.started):
            self._sender.send_again(call, now)

    def hedge_due(self, now: float) -> None:
        """Send slow hedged calls to a second server as well."""
        for call in self._table.hedging.due(now):
            if not call.stays and call.extended().duplicate is None:
                other = self._sender.choose(call, but=call.link)
                if other is not None:
                    self._sender.hand_over(self._table.duplicate(call), other, now)

    def look_at_servers(self, now: float) -> None:
        """Ping the servers that have been quiet for a while.
        One that leaves a ping unanswered is silent."""
        assert self._table.balancer is not None
        ask, silent = self._table.balancer.look(now)
        for link in ask:
            link.outbox.append(Ping(0))
            link.unasked -= 1  # its pong will add 1
        for link in silent:
            self._fell_silent(link, now)

    def _fell_silent(self, link: Link, now: float) -> None:
        """Move the calls of a silent server that may run twice to another server.
        The other calls wait for this server, or for its connection to break."""
        table = self._table
        for call in table.at(link):
            if call.state is ENDED:
                continue  # the end of another call ended it
            id_ = call.id
            if table.goes_on_as_duplicate(call):
                link.cancel(id_, call.size)
                continue
            other = self._sender.choose(call, but=link)
            if other is not None and self._may_run_twice(call, link) and table.retries.allow(call):
                link.cancel(id_, call.size)
                self._sender.send_again(call, now, other)

    def _send_unsent(self, call: OutgoingCall, link: Link) -> None:
        """Reroute a call from the outbox of a link that takes no more."""
        if type(call) is Duplicate:
            self._table.end(call, None, errors.Unavailable(link.reason, started=False))
        elif not self._table.goes_on_as_duplicate(call):
            self._sender.send_again(call, None)

    def _may_run_twice(self, call: OutgoingCall, link: Link) -> bool:
        """Whether the method allows it, and not too many calls have been sent twice recently."""
        return _is_repeatable(call, link) and self._table.retries.place(call, self._table.started)


def _is_repeatable(call: OutgoingCall, link: Link) -> bool:
    """Whether the method may run again after it may have run."""
    flags = link.methods.get(call.method)
    if flags is None or call.streams or call.stays:
        return False
    return flags.idempotent or flags.readonly or flags.once
