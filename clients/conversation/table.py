"""All calls of one client, from start to end."""

from __future__ import annotations

from typing import Any

import msgspec

from ... import errors
from ...balancing.balancer import Balancer
from ...balancing.hedging import Hedging
from ...balancing.retries import Retries
from .calls import ENDED, PAUSED, WAITING, Duplicate, OutgoingCall, Recorder
from .links import DRAINING, OPEN, Link


class CallTable:
    """The calls of one client that have not ended: `calls`, by id.
    `waiting` are those of them that wait for a link, in order. Ids rise and are never reused, so a
    late or duplicate reply finds no call to end. `balancer`: None with a single server."""

    def __init__(self, balancer: Balancer[Link] | None) -> None:
        self.calls: dict[int, OutgoingCall] = {}
        self.waiting: dict[int, OutgoingCall] = {}
        self.ending: list[OutgoingCall] = []  # removed from the calls, `finish` not yet completed
        self.bytes = 0  # the sizes of all calls
        self.more = 0  # calls in maps, beyond one for each message
        self.balancer = balancer
        self.retries: Retries[OutgoingCall] = Retries()
        self.hedging: Hedging[OutgoingCall] = Hedging()
        self.recorder: Recorder | None = None
        self.now = 0.0  # the last `now` received
        self.last_id = 0
        self._more_ids = 0  # ids that stand for no new call

    @property
    def started(self) -> int:
        """Number of calls since the beginning."""
        return self.last_id - self._more_ids

    def another_id(self) -> int:
        """An id that stands for no new call: for a key, or for a retry."""
        self.last_id += 1
        self._more_ids += 1
        return self.last_id

    def links_changed(self) -> None:
        """A link has changed."""
        if self.balancer is not None:
            self.balancer.stale = True

    def at(self, link: Link) -> list[OutgoingCall]:
        """The calls that were sent over the link. Ending one may end others of them."""
        return [call for call in self.calls.values() if call.link is link]

    def wait(self, call: OutgoingCall) -> None:
        """Let the call wait for a link."""
        call.state, call.link = WAITING, None
        self.waiting[call.id] = call

    def pause(self, call: OutgoingCall, now: float) -> bool:
        """Put aside a call that failed on its way and may have run.
        False without time or attempts left."""
        if self.retries.place(call, self.started):
            if not self.retries.delay(call, now):
                self.retries.ended(call, answered=False)
                return False
        elif not self.retries.wait(call, now):
            return False
        self.sent_again(call, "lost")
        self.leave(call)
        call.state = PAUSED
        return True

    def sent_again(self, call: OutgoingCall, reason: str) -> None:
        """Record a retry: the call's server has not answered it."""
        if self.recorder is not None and call.link is not None:
            self.recorder.again(call.link, reason)

    def renumber(self, call: OutgoingCall) -> None:
        """Give a call a new id before a retry: the server may have seen the old one."""
        self.leave(call)
        del self.calls[call.id]
        call.allowed = call.message.credit
        if call.extras is not None and call.extras.mapped is not None:
            call.extras.mapped.begin_again()
        call.message = msgspec.structs.replace(call.message, id=self.another_id())
        self.calls[call.id] = call

    def leave(self, call: OutgoingCall) -> None:
        """Take the call off its link."""
        link, call.link = call.link, None
        if link is not None and self.balancer is not None:
            self.balancer.left(call, link, self.now)

    def cancel(self, call: OutgoingCall, error: Exception) -> bool:
        """End the call from this side and send the server a Cancel; False if it has ended."""
        if call.state is ENDED:
            return False
        if call.link is not None and call.link.state in (OPEN, DRAINING):
            call.link.cancel(call.id, call.size)
        self.end(call, None, error)
        return True

    def end(self, call: OutgoingCall, result: Any, error: BaseException | None) -> None:
        if call.state is ENDED:
            return
        call.state = ENDED
        self.ending.append(call)
        extras = call.extras
        known = self.calls.pop(call.id, None) is not None
        self.waiting.pop(call.id, None)
        if self.retries.attempts:
            self.retries.ended(call, answered=error is None)
        if self.balancer is not None and call.link is not None:
            self.balancer.left(call, call.link, self.now)
        if extras is not None:
            if known:
                self.bytes -= extras.size
                if extras.mapped is not None:
                    self.more -= extras.mapped.more
            if extras.whole is not None:
                extras.whole.stop()
            if extras.upload is not None:
                extras.upload.stop()
            self._end_other(call, result, error)
        call.conclude(result, error, self.recorder)
        self.ending.pop()

    # Calls at two servers

    def duplicate(self, call: OutgoingCall) -> Duplicate:
        """The same call for a second server."""
        duplicate = call.extended().duplicate = Duplicate(call)
        duplicate.message.id = self.another_id()
        self.calls[duplicate.id] = duplicate
        return duplicate

    def goes_on_as_duplicate(self, call: OutgoingCall) -> bool:
        """Let the duplicate, if any, replace the call: the first server will not answer."""
        extras = call.extras
        if extras is None or extras.duplicate is None:
            return False
        self.leave(call)
        del self.calls[call.id]
        other, extras.duplicate = extras.duplicate, None
        other.state = ENDED
        call.message, call.link, call.sent = other.message, other.link, other.sent
        if self.balancer is not None:
            self.balancer.replaced(other, call)
        self.calls[call.id] = call
        return True

    def _end_other(self, call: OutgoingCall, result: Any, error: BaseException | None) -> None:
        """End the other one of two duplicate calls: the first result ends both."""
        if type(call) is Duplicate:
            first = call.first
            first.extended().duplicate = None
            if error is None and first.state is not ENDED:
                if first.link is not None and self.balancer is not None:
                    self.hedging.answered(first.method, self.now - first.sent)
                    self.balancer.failed(first, first.link, self.now)
                    first.link.cancel(first.id, first.size)
                self.end(first, result, None)
        elif call.extras is not None and call.extras.duplicate is not None:
            duplicate, call.extras.duplicate = call.extras.duplicate, None
            self.cancel(duplicate, errors.Cancelled(f"{call.method} has its reply"))
