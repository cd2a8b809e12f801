"""Handles the messages of the servers."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from ... import errors
from ...protocol.messages import (
    Bye,
    Credit,
    Drain,
    Drained,
    End,
    Error,
    Fault,
    FromServer,
    Item,
    Mapped,
    Ping,
    Pong,
    Reached,
    Refusal,
    Reply,
    Welcome,
)
from ...protocol.values import Unpacker
from .calls import ENDED, OutgoingCall
from .links import CLOSED, DRAINING, GREETING, Link
from .maps import MapOutcomes
from .recovery import Recovery
from .sending import Sender
from .table import CallTable
from .unreadable import check_cut, unreadable

log = logging.getLogger("ringback.client")

# Unread messages in an outbox from which on the server gets no more pongs: it might send pings
# without end.
UNREAD = 1024

# Unsolicited messages in a row after which the client closes the link. (Late replies to cancelled
# calls count.)
UNASKED = 100_000

# Maximum characters of a server's text that are shown.
_LONGEST = 1000

# Errors that the server or the connection to it causes.
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


class Receiver:
    """Receives the messages of all links.
    `max_size`: bytes of the largest value that this client takes."""

    def __init__(self, table: CallTable, sender: Sender, recovery: Recovery, max_size: int) -> None:
        self._table = table
        self._calls = table.calls
        self._ending = table.ending
        self._attempts = table.retries.attempts
        self._sender = sender
        self._recovery = recovery
        self._max_size = max_size

    def receive(
        self, link: Link, messages: Sequence[FromServer], values: Unpacker, now: float
    ) -> None:
        if link.state is CLOSED:
            return
        calls, ending, attempts, table = self._calls, self._ending, self._attempts, self._table
        balancer, unasked, decode = table.balancer, link.unasked, values.decode
        recorder = table.recorder
        if balancer is not None:
            table.now = link.health.heard = now
            if link.health.asked is not None:
                balancer.heard(link, now)
        for message in messages:
            if type(message) is not Reply:
                self._receive_rare(link, message, values, now)
                continue
            call = calls.get(message.id)
            if call is None or call.link is not link:
                link.unasked += 1
                continue  # late or duplicate: the call has ended
            if call.message.credit:
                text = f"{call.method}: the server sent one result for a stream"
                table.cancel(call, errors.ProtocolError(text))
                continue
            try:
                kind = call.settings.returns
                result = (
                    decode(message.result) if kind is Any else values.typed(message.result, kind)
                )
            except BaseException as error:  # the caller's own types may raise anything
                check_cut(kind, error)
                table.end(call, None, unreadable(call.method, kind, error))
                continue
            if balancer is not None:
                balancer.answered(call, link, now)
                if call.extras is not None and call.extras.hedged:
                    table.hedging.answered(call.method, now - call.sent)
                table.end(call, result, None)
            elif attempts or call.extras is not None:
                table.end(call, result, None)
            else:  # inlined on the hot path: only the call and the recorder need this end
                ending.append(call)
                del calls[message.id]
                call.state = ENDED
                if recorder is not None:
                    recorder.ended(call, None, now)
                call.finish(result, None)
                ending.pop()
        if table.retries.waits:
            self._recovery.send_due(now)
        if link.unasked == unasked:
            link.unasked = 0
        elif link.unasked > UNASKED:
            self._recovery.give_up(link, f"the server sent {link.unasked:,} unsolicited messages")

    def _receive_rare(self, link: Link, message: FromServer, values: Unpacker, now: float) -> None:
        if type(message) is Item:
            call = self._calls.get(message.id)
            if call is not None and call.link is link and call.message.credit:
                self._receive_item(call, message, values, now)
            else:
                link.unasked += 1
            return
        match message:
            case Mapped(id=id_):
                call = self._calls.get(id_)
                mapped = None if call is None or call.extras is None else call.extras.mapped
                if call is not None and call.link is link and mapped is not None:
                    self._receive_mapped(call, mapped, message, values, now)
                else:
                    link.unasked += 1
            case Welcome():
                if link.state is GREETING:
                    link.opened(message, self._max_size, now)
                    self._table.links_changed()
                    self._sender.send_waiting(now)
            case Drain():
                if link.become(DRAINING):
                    link.reason = f"the server at {link.endpoint} is shutting down"
                    self._table.links_changed()
                    self._recovery.take_back(link)
                    link.outbox.append(Drained())
            case Bye():
                self._recovery.left_behind(link, now)
                if len(link.outbox) < UNREAD:
                    link.outbox.append(Bye())
            case Ping(token=token):
                if len(link.outbox) < UNREAD:
                    link.outbox.append(Pong(token))
            case Pong():
                link.unasked += 1
            case Fault(message=text):
                self._recovery.give_up(
                    link, text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
                )
            case End(id=id_) | Credit(id=id_) | Error(id=id_) | Refusal(id=id_) | Reached(id=id_):
                call = self._calls.get(id_)
                if call is not None and call.link is link:
                    self._receive_of_call(call, link, message, now)

    def _receive_of_call(self, call: OutgoingCall, link: Link, message: Any, now: float) -> None:
        """Handle a message about a call at that link."""
        table = self._table
        match message:
            case End():
                error = None
                if not call.message.credit:
                    error = errors.ProtocolError(
                        f"{call.method}: the server sent a stream for a single result"
                    )
                if table.balancer is not None:
                    table.balancer.ended(call, link, now)
                table.end(call, None, error)
            case Credit(items=items):
                if (upload := call.upload) is not None and items > 0:
                    move_deadline(call, now)
                    upload.credit(items)
            case Error(code=code):
                if table.balancer is not None:
                    if code in _FAILURES:
                        table.balancer.failed(call, link, now)
                    else:
                        table.balancer.ended(call, link, now)
                table.end(call, None, errors.from_wire(code, message.kind, message.message))
            case Refusal():
                self._recovery.refused(call, message, now)
            case Reached(versions=versions):
                self._sender.session(call).saw(versions)
                link.reached = max(link.reached, versions.get(link.service, 0))

    def _receive_mapped(
        self, call: OutgoingCall, mapped: MapOutcomes, message: Mapped, values: Unpacker, now: float
    ) -> None:
        table = self._table
        try:
            whole = mapped.take(message, values, call.method, call.settings.returns)
        except errors.ProtocolError as error:
            table.cancel(call, error)
            return
        if whole:
            if table.balancer is not None:
                assert call.link is not None
                table.balancer.answered(call, call.link, now)
            table.end(call, None, None)

    def _receive_item(
        self, call: OutgoingCall, message: Item, values: Unpacker, now: float
    ) -> None:
        move_deadline(call, now)
        if not call.allowed:
            # (earlier items stay until the reader takes them)
            self._table.cancel(
                call,
                errors.ProtocolError(
                    f"{call.method}: the server sent more items than it had credit for"
                ),
            )
            return
        call.allowed -= 1
        values.taken = 0
        try:
            item = values.typed(message.value, call.settings.returns)
        except BaseException as error:  # the caller's own types may raise anything
            check_cut(call.settings.returns, error)
            self._table.cancel(call, unreadable(call.method, call.settings.returns, error))
        else:
            call.item(item, len(message.value) + values.taken)


def move_deadline(call: OutgoingCall, now: float) -> None:
    """Move a stream's deadline after an item or credit was sent or received."""
    if call.settings.timeout is not None:
        call.deadline = now + call.settings.timeout
        if call.extras is not None and call.extras.latest is not None:
            call.deadline = min(call.deadline, call.extras.latest)
