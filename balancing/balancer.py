"""Chooses the server of a call: by role and zone, by health, by the call's key, by policy."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar, cast

from ..logs.errorlog import log_error
from .affinity import nearest
from .liveness import Liveness
from .outliers import Ejection, Health, HealthCondition, Outliers
from .policies import Policy, policy_of
from .servers import BalancedServer
from .versions import SeenVersions, Versions

log = logging.getLogger("ringback.client")

# Seconds for which only calls that may run twice probe an ejected server: another call would be
# lost if the probe fails.
FOR_REPEATABLE = 5.0


class Wishes(Protocol):
    """Wishes of a call for its server.
    The same one for equal `affinity`, a `primary`, no data older than its `session` has seen."""

    affinity: str | None
    primary: bool
    session: SeenVersions | None


class Placed(Hashable, Protocol):
    """A call at a server. `sent`: when it was sent there."""

    sent: float

    @property
    def streams(self) -> bool: ...


S = TypeVar("S", bound=BalancedServer)


class _Group(Generic[S]):
    """The open servers for one kind of calls: `fit` to choose from, `out` the ejected ones."""

    def __init__(self, servers: Sequence[S], zone: str) -> None:
        fit = [
            server for server in servers if server.health.condition is HealthCondition.FIT
        ] or servers
        fit = [server for server in fit if server.liveness is not Liveness.STALLED] or fit
        self.fit = [server for server in fit if server.zone == zone] or fit
        self.out = [server for server in servers if server.health.condition is HealthCondition.OUT]


class Balancer(Generic[S]):
    """Chooses servers for one client. `servers` is the client's own list.
    Set `stale` after any change of the servers."""

    def __init__(
        self,
        servers: list[S],
        versions: Versions,
        policy: Policy | None,
        zone: str,
        ejection: Ejection,
    ) -> None:
        self.stale = True
        self._servers = servers
        self._versions = versions
        self._policy = policy_of(policy)
        self._reported = False  # whether an error of the policy was logged
        self._zone = zone
        self._outliers = Outliers(ejection)
        self._trials: set[Placed] = set()  # calls that probe an ejected server
        self._health: list[Health] = []
        self._readonly: frozenset[str] = frozenset()
        self._repeatable: frozenset[str] = frozenset()
        self._writers: _Group[S] = _Group([], zone)
        self._readers = self._writers

    def choose(
        self,
        method: str,
        wishes: Wishes | None,
        now: float,
        but: S | None = None,
        *,
        trial: bool = True,
    ) -> S | None:
        """An open server other than `but`; None if there is none.
        `trial`: whether the call may probe an ejected server."""
        if self.stale or self._outliers.changed:
            self._refresh()
        reads = self._readers is not self._writers and method in self._readonly
        group = (
            self._readers
            if reads and not (wishes is not None and wishes.primary)
            else self._writers
        )
        among = group.fit
        if but is not None:
            among = [server for server in among if server is not but]
        if reads:
            session = (
                wishes.session
                if wishes is not None and wishes.session is not None
                else self._versions
            )
            among = _up_to_date(among, session.versions)
        affinity = None if wishes is None else wishes.affinity
        for server in group.out if trial else ():
            own = affinity is None or nearest([server, *among], affinity) is server
            if own and server is not but and self._is_to_be_tried(server, method, now):
                return server
        if affinity is not None and among:
            return nearest(among, affinity)
        if len(among) > 1:
            return self._ask(among, now)
        return among[0] if among else None

    def _ask(self, among: Sequence[S], now: float) -> S:
        """Ask the policy, which may be the user's own: its errors must cost no call."""
        try:
            chosen: Any = self._policy.choose(among, now)
            for server in among:
                if server is chosen:
                    return server
            raise ValueError("it returned none of the servers that it received")
        except BaseException as error:
            if not self._reported:
                self._reported = True
                text = "policy %s failed; the server with the lowest burden gets such calls"
                log_error(log, text, type(self._policy).__name__, error=error)
        return min(among, key=lambda each: each.burden)

    def is_readonly(self, method: str) -> bool:
        return method in self._readonly

    def begun(self, call: Placed, server: S, now: float) -> None:
        """The call is sent to that server."""
        call.sent = now
        server.begun(now, streams=call.streams)
        if server.health.condition is HealthCondition.OUT:
            self._outliers.tried(server.health)
            self._trials.add(call)
            self.stale = True

    def answered(self, call: Placed, server: S, now: float) -> None:
        """The call has its result."""
        if call.streams:
            self.ended(call, server, now)
            return
        seconds = now - call.sent
        server.answered(seconds, now)
        self._went_well(call, server, seconds, now)

    def ended(self, call: Placed, server: S, now: float) -> None:
        """The server works, but the time tells nothing: a stream ended, or the caller made an
        error."""
        server.failures = 0
        if not call.streams:
            server.progressed = now
        self._went_well(call, server, None, now)

    def _went_well(self, call: Placed, server: S, seconds: float | None, now: float) -> None:
        if self._trials and self._ends_trial(call):
            self._outliers.went_well(server.health, seconds, self._health, now)

    def failed(self, call: Placed, server: S, now: float) -> None:
        """The server or its connection failed the call: error, timeout, or a faster duplicate."""
        tried = self._ends_trial(call)
        if not call.streams:
            server.outlasted(now - call.sent, now)
        self._outliers.failed(server.health, self._health, now, tried=tried)

    def left(self, call: Placed, server: S, now: float) -> None:
        """The call is no longer at that server, for whatever reason."""
        server.left(streams=call.streams)
        if self._trials and self._ends_trial(call):
            self._outliers.given_up(server.health, now)
            self.stale = True

    def replaced(self, duplicate: Placed, call: Placed) -> None:
        """The duplicate takes the call's place."""
        if self._ends_trial(duplicate):
            self._trials.add(call)

    def _ends_trial(self, call: Placed) -> bool:
        if call not in self._trials:
            return False
        self._trials.remove(call)
        return True

    def heard(self, server: S, now: float) -> None:
        """A server with an open ping has sent something."""
        self._outliers.heard(server.health, now)

    def review(self, now: float) -> None:
        """Update the shares and find slow servers.
        Used while `look` is not due, with no call in flight."""
        if self.stale:
            self._refresh()
        self._outliers.review(self._health, now)

    def look(self, now: float) -> tuple[list[S], list[S]]:
        """The servers to ping, and those that have fallen silent."""
        if self.stale:
            self._refresh()
        asked, silent = self._outliers.look(self._health, now)
        # the loads are servers of this balancer
        return [cast(S, each.load) for each in asked], [cast(S, each.load) for each in silent]

    def _is_to_be_tried(self, server: S, method: str, now: float) -> bool:
        repeatable = method in self._repeatable
        return self._outliers.due(server.health, now if repeatable else now - FOR_REPEATABLE)

    def _refresh(self) -> None:
        self.stale = self._outliers.changed = False
        open_ = [server for server in self._servers if server.open]
        self._health = [server.health for server in open_]
        methods = [(name, flags) for server in open_ for name, flags in server.methods.items()]
        self._readonly = frozenset(name for name, flags in methods if flags.readonly)
        self._repeatable = self._readonly.union(
            name for name, flags in methods if flags.idempotent or flags.once
        )
        if not any(server.role for server in open_):
            self._writers = self._readers = _Group(open_, self._zone)
            return
        replicas = [server for server in open_ if server.role == "replica"]
        primaries = [server for server in open_ if server.role != "replica"]
        self._writers = _Group(primaries, self._zone)
        fit = [server for server in replicas if server.health.condition is HealthCondition.FIT]
        self._readers = _Group(replicas if fit or not primaries else primaries, self._zone)
        if not fit:
            self._readers.out = [
                server for server in replicas if server.health.condition is HealthCondition.OUT
            ]


def _up_to_date(servers: Sequence[S], seen: Mapping[str, int] | None) -> Sequence[S]:
    """The servers known to have these versions.
    All, if there is none: a replica waits until it has them."""
    if not seen:
        return servers
    return [
        server
        for server in servers
        if server.role != "replica" or server.reached >= seen.get(server.service, 0)
    ] or servers
