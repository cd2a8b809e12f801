"""The calls of one client and where each is: waiting for a link, sent over one, waiting to be sent again, ended.

What makes them move is told in `client.py`, and which link is chosen in `balancer.py`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from .. import errors
from ..balancing.liveness import Liveness
from ..balancing.outliers import LOOK, Ejection
from ..balancing.policies import Policy
from .balancer import Balancer
from .calls import OutgoingCall, Session, milliseconds
from .hedges import Hedges, Twin
from .links import Link, LinkState
from .messages import (
    Call,
    CallOptions,
    FromClient,
    Hello,
    Notify,
    Ping,
    Refusal,
)
from .retries import Retries
from .values import size_of_arguments
from .versions import Versions

log = logging.getLogger("ringback.client")

# Seconds from one look at the deadlines to the next, at least, and for each call in flight; the latter keeps the cost of looking
# below a tenth of the time.
TICK = 0.005
TICK_PER_CALL = 500e-9

# From the best to the worst.
_NAMES = (
    (LinkState.CONNECTING, "connecting"),
    (LinkState.GREETING, "connecting"),
    (LinkState.DRAINING, "draining"),
    (LinkState.DOWN, "down"),
)


class Routing:
    """`calls` are those that have not ended, by id; `waiting` those of them that no link could take yet, in order. Ids count up and
    are never used twice, so that a late or doubled answer finds nothing to end.
    """

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
        self.links = [Link(endpoint) for endpoint in endpoints]
        # Where there may be servers that are not known yet: why none is.
        self.searching = searching
        self.found = searching is None  # whether those that there are have been told
        # Of one server alone there is nothing to choose, and nothing is kept of its load.
        self._only = self.links[0] if len(self.links) == 1 and searching is None else None
        self.versions = Versions()  # that the calls of this client have seen
        self._balancer = (
            None
            if self._only is not None
            else Balancer(self.links, self.versions, policy, zone, ejection or Ejection())
        )
        self._hedges = Hedges()
        self._look_at = 0.0
        self._now = 0.0  # the last that was told
        self._nowhere = Link("")  # that of calls which are held
        self.calls: dict[int, OutgoingCall] = {}
        self.waiting: dict[int, OutgoingCall] = {}
        self.notes: list[Notify] = []
        self.ending: list[OutgoingCall] = []  # what is no longer among the calls, and not yet told of its end
        self.bytes = 0  # the weight of all calls
        self.max_size = max_size
        self._hello = Hello(instance, max_size, software)
        self._next_tick: float | None = None
        self._retries = Retries()
        self._last_id = 0
        self._more_ids = 0  # that were given to what is no further call

    @property
    def state(self) -> str:
        """What the best link is: "ready", "busy" (its server lives, but does not answer yet), "stalled" (it says nothing), "connecting",
        "draining" (its server is going), "down", or "closed"."""
        opened = {link.liveness for link in self.links if link.state is LinkState.OPEN}
        if opened:
            return next(each.value for each in Liveness if each in opened)
        states = {link.state for link in self.links}
        for state, name in _NAMES:
            if state in states:
                return name
        return "closed" if self.searching is None else "connecting"

    @property
    def balances(self) -> bool:
        """Whether there is a choice among servers."""
        return self._balancer is not None

    @property
    def in_flight(self) -> int:
        return len(self.calls)

    def notify(self, note: Notify) -> None:
        """Send a one-way call over an open link, or keep it until there is one. Raises ResourceExhausted where it is more
        than the server takes."""
        link = self._choose(note)
        if link is None:
            self.notes.append(note)
        elif link.limit is not None and (taken := _taken(note)) > link.limit:
            raise too_large(f"the arguments of {note.method} take", taken, link)
        else:
            if note.method in link.once:
                note.options = self._keyed(note.options)
            link.outbox.append(note)

    def cancel(self, call: OutgoingCall, error: Exception) -> bool:
        """End the call from this side and tell the server; False if it has ended already."""
        if call.ended:
            return False
        if call.link is not None and call.link.state in (LinkState.OPEN, LinkState.DRAINING):
            call.link.cancel(call.id, call.weight)
        self._end(call, None, error)
        return True

    def tick(self, now: float) -> None:
        """End what is past its deadline.

        All calls are looked at: the oldest of many live for long, so this is seldom, and each call costs less than its place in
        a heap would.
        """
        self._now = now
        for call in self._retries.due(now):
            self._send_again(call, self._choose(call), now)
        if self._balancer is not None:
            self._balance(self._balancer, now)
        if self._next_tick is None or now < self._next_tick:
            return
        due = [call for call in self.calls.values() if call.deadline is not None and call.deadline <= now]
        for call in due:
            if call.ended:
                continue  # with its twin
            if call.link is None:
                self._end(call, None, self._unavailable(f" (waited {_seconds(call)})"))
            else:
                limit = "the next item" if call.streams else "the answer"
                text = f"{call.method}: {limit} did not come within {_seconds(call)}"
                if self._balancer is not None and call.link is not self._nowhere:
                    self._balancer.failed(call, call.link, now)
                self.cancel(call, errors.DeadlineExceeded(text))
        deadlines = [call.deadline for call in self.calls.values() if call.deadline is not None]
        # Where calls expire one after the other, they are looked at together, a few milliseconds late.
        pause = max(TICK, len(deadlines) * TICK_PER_CALL)
        self._next_tick = max(min(deadlines), now + pause) if deadlines else None

    def next_tick(self) -> float | None:
        """When `tick` is due."""
        due = [self._next_tick, self._retries.next()]
        if self._balancer is not None:
            due.append(self._hedges.next())
            if self.calls:
                due.append(self._look_at)
        return min((each for each in due if each is not None), default=None)

    def _choose(self, what: OutgoingCall | Notify, but: Link | None = None) -> Link | None:
        """An open link for it, but not that one."""
        plan = what.plan if isinstance(what, OutgoingCall) else None
        if self._balancer is not None:
            return self._balancer.choose(what, plan, self._now, but)
        link = self._only if plan is None or plan.only is None else plan.only
        return link if link is not None and link.state is LinkState.OPEN and link is not but else None

    def _changed(self) -> None:
        """Something about the links has."""
        if self._balancer is not None:
            self._balancer.stale = True

    def _wait(self, call: OutgoingCall) -> None:
        call.link = None
        only = None if call.plan is None else call.plan.only
        if only is not None:
            if only.state in (LinkState.CONNECTING, LinkState.GREETING):
                self.waiting[call.id] = call
            else:
                error = errors.Unauthenticated(only.reason) if only.refuses else None
                self._end(call, None, error or errors.Unavailable(only.reason, started=False))
            return
        links = self.links
        hopeful = call.settings.wait_for_ready and not self._hopeless
        coming = any(link.state in (LinkState.CONNECTING, LinkState.GREETING) for link in links)
        if hopeful or coming or not self.found:
            self.waiting[call.id] = call
        elif links and all(link.state is LinkState.CLOSED for link in links):
            self._end(call, None, self._refusal())
        else:
            self._end(call, None, self._unavailable())

    @property
    def _hopeless(self) -> bool:
        """Whether no link will ever be open. (Servers that are found come and go; but where all that are there refuse this client, the
        next will, too.)"""
        links = self.links
        if self.searching is None:
            return all(link.state is LinkState.CLOSED for link in links)
        return bool(links) and all(link.refuses for link in links)

    def _refusal(self) -> errors.CallError:
        """Why all links are closed."""
        refusing = [link for link in self.links if link.refuses]
        if refusing:
            return errors.Unauthenticated("; ".join(dict.fromkeys(link.reason for link in refusing)))
        return self.links[0].closed_by(self.links[0].reason)

    def _refuse_impatient(self) -> None:
        for call in [
            call
            for call in self.waiting.values()
            if not call.settings.wait_for_ready or (call.plan is not None and call.plan.only is not None)
        ]:
            if self.waiting.pop(call.id, None) is call:
                self._wait(call)

    def _unavailable(self, waited: str = "") -> errors.Unavailable:
        reasons = dict.fromkeys(link.reason for link in self.links if link.state is not LinkState.OPEN)
        if not self.links and self.searching is not None:
            reasons[self.searching()] = None
        elif any(link.state is LinkState.OPEN for link in self.links):
            reasons["no primary takes calls that change something"] = None
        return errors.Unavailable("; ".join(reasons) + waited, started=False)

    def _hand_over(self, call: OutgoingCall, link: Link, now: float | None) -> None:
        """Put a call that could not be sent at once into the link's outbox, with the time it has left."""
        message, deadline = call.message, call.deadline
        # (that of a stream bounds the gaps between items, which only the client can see)
        if deadline is not None and not call.streams and now is not None:
            message.timeout = milliseconds(deadline - now)
        if link.limit is not None:
            taken = _taken(message)
            if taken > link.limit:
                self._end(call, None, too_large(f"the arguments of {call.method} take", taken, link))
                return
        if message.method in link.once:
            message.options = self._keyed(message.options)
        plan = call.plan
        if link.role or (plan is not None and plan.session is not None):
            message.options = self._dated(message.options, self._session(call).versions)
        call.link = link
        link.outbox.append(message)
        if self._balancer is not None:
            now = self._now if now is None else now
            self._balancer.begun(call, link, now)
            if plan is not None and plan.hedged and not call.streams and self._balancer.is_readonly(call):
                self._hedges.sent(call, now)

    def _session(self, call: OutgoingCall) -> Session:
        """Whose call it is: the client's own, if nobody else's."""
        return self.versions if call.plan is None else call.plan.session or self.versions

    def _dated(self, options: CallOptions | None, versions: dict[str, int] | None) -> CallOptions:
        """The options with what its caller has seen. (A copy: where a handler asks, other threads may add to it.)"""
        return msgspec.structs.replace(options or CallOptions(), versions=dict(versions or {}))

    def _keyed(self, options: CallOptions | None) -> CallOptions:
        """The options with a key, under which the server runs a call once, however often it is sent."""
        if options is None:
            options = CallOptions()
        if options.key is not None:
            return options
        self._last_id += 1
        self._more_ids += 1
        return msgspec.structs.replace(options, key=f"{self._hello.instance.hex()}-{self._last_id}")

    def _send_waiting(self, now: float) -> None:
        waiting, self.waiting = self.waiting, {}
        self._now = now
        # Their ids must rise: a server passes over what is below the last it has seen, and who had hope anew was put at the end.
        for call in sorted(waiting.values(), key=_by_id):
            if call.ended:
                continue  # the end of another took it along
            link = self._choose(call)
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

    def _send_again(self, call: OutgoingCall, link: Link | None, now: float | None) -> None:
        """Under a new id: the old one may have been seen."""
        self._leave(call)
        del self.calls[call.id]
        call.allowed = call.message.credit
        self._last_id += 1
        self._more_ids += 1
        call.message = msgspec.structs.replace(call.message, id=self._last_id)
        self.calls[call.id] = call
        if link is None:
            self._wait(call)
        else:
            self._hand_over(call, link, now)

    def _leave(self, call: OutgoingCall) -> None:
        """It is no longer at its link."""
        link, call.link = call.link, None
        if link is not None and self._balancer is not None:
            self._balancer.left(call, link, self._now)

    def _refused(self, call: OutgoingCall, message: Refusal, now: float) -> None:
        link = call.link
        assert link is not None
        again = message.started is False and message.code == errors.Unavailable.code
        elsewhere: Link | None = None
        if self._balancer is not None and message.code == errors.ResourceExhausted.code:
            self._balancer.failed(call, link, now)
        if message.started is False and self._goes_on_as_twin(call):
            return
        if again and link.role == "replica":
            call.planned().primary = True  # it may have been too far behind
        if call.upload is not None and call.upload.allowed:
            again = False  # some of its items may be gone
        elif again:
            elsewhere = self._choose(call, but=link)
        elif self._balancer is not None and message.code == errors.ResourceExhausted.code:
            # Another may have room; but where all are full, twice as many calls would be of no help.
            elsewhere = (
                self._choose(call, but=link) if message.started is False and not _stays(call) else None
            )
            again = elsewhere is not None and self._retries.spend(self._last_id - self._more_ids)
        if again and not _stays(call) and self._retries.allow(call):
            # To another server at once; to the same one, where it has come back.
            self._send_again(call, elsewhere or self._choose(call), now)
        else:
            self._end(call, None, errors.from_wire(message.code, "", message.message, message.started))

    def _left_behind(self, link: Link, now: float) -> None:
        """The server has answered all that it had accepted: what is left it has refused, or will never read."""
        for call in [call for call in self.calls.values() if call.link is link]:
            if not call.ended:
                text = f"the server at {link.endpoint} is shutting down"
                self._refused(call, Refusal(call.id, errors.Unavailable.code, text, started=False), now)

    def _take_back(self, link: Link) -> None:
        """What has not been sent over a link need not be refused by a server that is going."""
        outbox, link.outbox = link.outbox, []
        for message in outbox:
            if type(message) is Call:
                call = self.calls.get(message.id)
                if call is not None:
                    self._send_unsent(call, link)
            elif type(message) is not Notify:
                link.outbox.append(message)
        self._notify_again(outbox)

    def _end_all(self, link: Link, error: errors.CallError, now: float | None) -> None:
        """End the calls that were sent over the link, or send them again if there is a time for it; those that still lie in its
        outbox may go elsewhere."""
        outbox, link.outbox = link.outbox, []
        unsent = {message.id for message in outbox if type(message) is Call}
        for call in [call for call in self.calls.values() if call.link is link]:
            if call.ended:
                continue  # the end of another took it along
            if call.id in unsent:
                self._send_unsent(call, link)
            elif self._goes_on_as_twin(call):
                pass
            elif now is None or not self._may_run_twice(call, link) or not self._retry(call, now):
                self._end(call, None, error)
        self._notify_again(outbox)

    def _send_unsent(self, call: OutgoingCall, link: Link) -> None:
        """It has lain in the outbox of a link that takes no more."""
        if type(call) is Twin:
            self._end(call, None, errors.Unavailable(link.reason, started=False))
        elif not self._goes_on_as_twin(call):
            self._send_again(call, self._choose(call), None)

    def _may_run_twice(self, call: OutgoingCall, link: Link) -> bool:
        """Whether the method says so, and not too many calls have been sent twice of late."""
        flags = None if link.welcome is None else link.welcome.methods.get(call.method)
        if (
            flags is None
            or call.streams
            or _stays(call)
            or not (flags.idempotent or flags.readonly or flags.once)
        ):
            return False
        return self._retries.spend(self._last_id - self._more_ids)

    def _retry(self, call: OutgoingCall, now: float) -> bool:
        """Send the call again after a while, if it has the time and an attempt left."""
        if not self._retries.delay(call, now):
            return False
        self._leave(call)
        return True

    def _balance(self, balancer: Balancer, now: float) -> None:
        """From time to time: who has fallen silent, and which calls are to be sent to a second server."""
        if now >= self._look_at:
            self._look_at = now + LOOK
            ask, silent = balancer.look(now)
            for link in ask:
                link.outbox.append(Ping(0))
                link.unasked -= 1  # as its pong will count
            for link in silent:
                self._fell_silent(link, now)
        for call in self._hedges.due(now):
            self._hedge(call, now)

    def _fell_silent(self, link: Link, now: float) -> None:
        """What may run twice is sent to another server; the rest waits for this one, or for its connection to break."""
        for call in [call for call in self.calls.values() if call.link is link]:
            if call.ended:
                continue  # the end of another took it along
            id_ = call.id
            if self._goes_on_as_twin(call):
                link.cancel(id_, call.weight)
                continue
            other = self._choose(call, but=link)
            if other is not None and self._may_run_twice(call, link) and self._retries.allow(call):
                link.cancel(id_, call.weight)
                self._send_again(call, other, now)

    def _hedge(self, call: OutgoingCall, now: float) -> None:
        """Send a call that takes its time to another server as well."""
        plan = call.planned()
        if plan.twin is not None or plan.only is not None:
            return
        other = self._choose(call, but=call.link)
        if other is not None:
            twin = Twin(call)
            plan.twin = twin
            twin.message.id = self._last_id = self._last_id + 1
            self._more_ids += 1
            self.calls[twin.id] = twin
            self._hand_over(twin, other, now)

    def _goes_on_as_twin(self, call: OutgoingCall) -> bool:
        """Nothing comes any more of what was sent first: what is under way elsewhere, if it is, is the call from now on."""
        plan = call.plan
        if plan is None or plan.twin is None:
            return False
        self._leave(call)
        del self.calls[call.id]
        twin, plan.twin = plan.twin, None
        twin.ended = True
        call.message, call.link, call.sent = twin.message, twin.link, twin.sent
        plan.tries = twin.planned().tries
        self.calls[call.id] = call
        return True

    def _end(self, call: OutgoingCall, result: Any, error: BaseException | None) -> None:
        if call.ended:
            return
        call.ended = True
        self.ending.append(call)
        if self.calls.pop(call.id, None) is not None:
            self.bytes -= call.weight
        self.waiting.pop(call.id, None)
        if self._retries.attempts:
            self._retries.attempts.pop(call, None)
        if call.upload is not None:
            call.upload.stop()
        if self._balancer is not None and call.link is not None:
            self._balancer.left(call, call.link, self._now)
        if call.plan is not None:
            self._end_twin(call, result, error)
        call.conclude(result, error)
        self.ending.pop()

    def _end_twin(self, call: OutgoingCall, result: Any, error: BaseException | None) -> None:
        """Of two that are the same, the first result ends both."""
        if type(call) is Twin:
            first = call.first
            first.planned().twin = None
            if error is None and not first.ended:
                if first.link is not None and self._balancer is not None:
                    self._hedges.answered(first, self._now)
                    self._balancer.failed(first, first.link, self._now)
                    first.link.cancel(first.id, first.weight)
                self._end(first, result, None)
        elif call.plan is not None and call.plan.twin is not None:
            twin, call.plan.twin = call.plan.twin, None
            self.cancel(twin, errors.Cancelled(f"{call.method} has its answer"))


def _stays(call: OutgoingCall) -> bool:
    """Whether it is meant for one server only, and never sent again."""
    return type(call) is Twin or (call.plan is not None and call.plan.only is not None)


def too_large(what: str, taken: int, link: Link) -> errors.ResourceExhausted:
    return errors.ResourceExhausted(
        f"{what} {taken:,} bytes; the server at {link.endpoint} takes {link.limit:,}"
    )


def _taken(message: Call | Notify) -> int:
    """Bytes of a call's arguments and of what travels beside them, as far as its caller has chosen that."""
    names = sum(len(name.encode()) for name in message.kwargs) if message.kwargs else 0
    beside = 0 if message.options is None else len(msgspec.msgpack.encode(message.options))
    return size_of_arguments(message.args, message.kwargs) + names + beside


def _by_id(call: OutgoingCall) -> int:
    return call.id


def _seconds(call: OutgoingCall) -> str:
    return (
        f"{call.settings.timeout:g} s"
        if call.settings.timeout is not None
        else "the time its caller had left"
    )
