"""Which of its links the client's machine sends a call over: by role and zone, by who is fit, by the call's key, by policy."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence

from ..balancing.affinity import nearest
from ..balancing.liveness import Liveness
from ..balancing.outliers import Condition, Ejection, Health, Outliers
from ..balancing.policies import Policy, policy_of
from ..errorlog import log_error
from .calls import OutgoingCall, Plan
from .links import Link, LinkState
from .messages import Notify
from .versions import Versions

log = logging.getLogger("ringback.client")

# Seconds for which a server that is to be tried is left to calls that may run twice: another is lost where it fails.
FOR_REPEATABLE = 5.0


class _Group:
    """The open links that one kind of calls may take: those to choose from, and those that are out."""

    def __init__(self, links: Sequence[Link], zone: str) -> None:
        fit = [link for link in links if link.health.condition is Condition.FIT] or links
        fit = [link for link in fit if link.liveness is not Liveness.STALLED] or fit
        self.fit = [link for link in fit if link.zone == zone] or fit
        self.out = [link for link in links if link.health.condition is Condition.OUT]


class Balancer:
    """Of one client. `links` is the machine's own list; whenever something about them changes, it is told so by `stale`."""

    def __init__(
        self,
        links: list[Link],
        versions: Versions,
        policy: Policy | None,
        zone: str,
        ejection: Ejection,
    ) -> None:
        self.stale = True
        self._links = links
        self._versions = versions
        self._policy = policy_of(policy)
        self._told = False  # whether it was told that the policy does wrong
        self._zone = zone
        self._outliers = Outliers(ejection)
        self._health: list[Health] = []
        self._readonly: frozenset[str] = frozenset()
        self._repeatable: frozenset[str] = frozenset()
        self._writers = self._readers = _Group([], zone)

    def choose(
        self,
        what: OutgoingCall | Notify,
        plan: Plan | None,
        now: float,
        but: Link | None = None,
    ) -> Link | None:
        """An open link, but not that one; None where there is none."""
        if self.stale or self._outliers.changed:
            self._refresh()
        if plan is not None and plan.only is not None:
            return plan.only if plan.only.state is LinkState.OPEN else None
        reads = self._readers is not self._writers and what.method in self._readonly
        group = self._readers if reads and not (plan is not None and plan.primary) else self._writers
        among = group.fit
        if but is not None:
            among = [link for link in among if link is not but]
        if reads:
            session = plan.session if plan is not None and plan.session is not None else self._versions
            among = _up_to_date(among, session.versions)
        for link in group.out:
            if link is not but and self._is_to_be_tried(link, what, now) and _is_own(link, plan, among):
                return link
        if plan is not None and plan.affinity is not None and among:
            return nearest(among, plan.affinity)
        if len(among) > 1:
            return self._ask(among, now)
        return among[0] if among else None

    def _ask(self, among: Sequence[Link], now: float) -> Link:
        """The policy, which may be the user's own: what it does wrong must cost no call."""
        try:
            chosen = self._policy.choose(among, now)
            for link in among:
                if link is chosen:
                    return link
            raise ValueError("it chose what is none of the servers that it was given")
        except BaseException as error:
            if not self._told:
                self._told = True
                text = "the policy %s failed; such calls go to the server with the fewest"
                log_error(log, text, type(self._policy).__name__, error=error)
        return min(among, key=lambda each: each.burden)

    def is_readonly(self, call: OutgoingCall) -> bool:
        return call.method in self._readonly

    def begun(self, call: OutgoingCall, link: Link, now: float) -> None:
        """The call is sent over that link."""
        call.sent = now
        link.begun(now, streams=call.streams)
        if link.health.condition is Condition.OUT:
            self._outliers.tried(link.health)
            call.planned().tries = True
            self.stale = True

    def answered(self, call: OutgoingCall, link: Link, now: float) -> None:
        """It got its result."""
        if call.streams:
            self.ended(call, link, now)
            return
        seconds = now - call.sent
        link.answered(seconds, now)
        self._went_well(call, link, seconds, now)

    def ended(self, call: OutgoingCall, link: Link, now: float) -> None:
        """The server is well, but how long that took tells nothing: a stream ended, or an error came that is the caller's own."""
        link.failures = 0
        if not call.streams:
            link.progressed = now
        self._went_well(call, link, None, now)

    def _went_well(self, call: OutgoingCall, link: Link, seconds: float | None, now: float) -> None:
        if call.plan is not None and call.plan.tries:
            call.plan.tries = False
            self._outliers.went_well(link.health, seconds, self._health, now)

    def failed(self, call: OutgoingCall, link: Link, now: float) -> None:
        """The server or the way to it was at fault: an error, no answer in time, or another server had it sooner."""
        tried = call.plan is not None and call.plan.tries
        if call.plan is not None:
            call.plan.tries = False
        if not call.streams:
            link.outlasted(now - call.sent, now)
        self._outliers.failed(link.health, self._health, now, tried=tried)

    def left(self, call: OutgoingCall, link: Link, now: float) -> None:
        """It is no longer at that link, for whatever reason."""
        link.left(streams=call.streams)
        if call.plan is not None and call.plan.tries:
            call.plan.tries = False
            self._outliers.given_up(link.health, now)
            self.stale = True

    def heard(self, link: Link, now: float) -> None:
        """The server said something, which it was asked to."""
        self._outliers.heard(link.health, now)

    def review(self, now: float) -> None:
        """Who is slow, and who gets how much: where `look` is not due, as nothing is in flight for long."""
        if self.stale:
            self._refresh()
        self._outliers.review(self._health, now)

    def look(self, now: float) -> tuple[list[Link], list[Link]]:
        """Who is to be asked whether it is there, and who has fallen silent."""
        if self.stale:
            self._refresh()
        ask, silent = self._outliers.look(self._health, now)
        return _links_of(ask), _links_of(silent)

    def _is_to_be_tried(self, link: Link, what: OutgoingCall | Notify, now: float) -> bool:
        if type(what) is Notify:
            return False  # nothing would be learned
        repeatable = what.method in self._repeatable
        return self._outliers.due(link.health, now if repeatable else now - FOR_REPEATABLE)

    def _refresh(self) -> None:
        self.stale = self._outliers.changed = False
        open_ = [link for link in self._links if link.state is LinkState.OPEN]
        self._health = [link.health for link in open_]
        methods = [
            (name, flags) for link in open_ if link.welcome for name, flags in link.welcome.methods.items()
        ]
        self._readonly = frozenset(name for name, flags in methods if flags.readonly)
        self._repeatable = self._readonly.union(
            name for name, flags in methods if flags.idempotent or flags.once
        )
        if not any(link.role for link in open_):
            self._writers = self._readers = _Group(open_, self._zone)
            return
        replicas = [link for link in open_ if link.role == "replica"]
        primaries = [link for link in open_ if link.role != "replica"]
        self._writers = _Group(primaries, self._zone)
        fit = [link for link in replicas if link.health.condition is Condition.FIT]
        self._readers = _Group(replicas if fit or not primaries else primaries, self._zone)
        if not fit:
            self._readers.out = [link for link in replicas if link.health.condition is Condition.OUT]


def _is_own(link: Link, plan: Plan | None, among: Sequence[Link]) -> bool:
    """Whether the call's key, if it has one, is that link's."""
    return plan is None or plan.affinity is None or nearest([link, *among], plan.affinity) is link


def _up_to_date(links: Sequence[Link], seen: Mapping[str, int] | None) -> Sequence[Link]:
    """Those that are known to have these versions; all, where none is: a replica waits until it has them."""
    if not seen:
        return links
    return [
        link for link in links if link.role != "replica" or link.reached >= seen.get(link.service, 0)
    ] or links


def _links_of(health: Iterable[Health]) -> list[Link]:
    return [each.load for each in health if isinstance(each.load, Link)]
