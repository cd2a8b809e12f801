"""Which server a call is sent to: by role and zone, by health, by the call's key, by policy."""

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

# Seconds for which a server that is to be tried is left to calls that may run twice: another call is lost where it fails.
FOR_REPEATABLE = 5.0


class Wishes(Protocol):
    """What few calls ask of the choice: the same server for equal `affinity`, a `primary`, no data older than a `session` has seen."""

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
    """The open servers that one kind of calls may take: those to choose from, and those that are out."""

    def __init__(self, servers: Sequence[S], zone: str) -> None:
        fit = [server for server in servers if server.health.condition is HealthCondition.FIT] or servers
        fit = [server for server in fit if server.liveness is not Liveness.STALLED] or fit
        self.fit = [server for server in fit if server.zone == zone] or fit
        self.out = [server for server in servers if server.health.condition is HealthCondition.OUT]


class Balancer(Generic[S]):
    """Of one client. `servers` is the client's own list; `stale` is to be set whenever something about them changes."""

    def __init__(
        self, servers: list[S], versions: Versions, policy: Policy | None, zone: str, ejection: Ejection
    ) -> None:
        self.stale = True
        self._servers = servers
        self._versions = versions
        self._policy = policy_of(policy)
        self._reported = False  # whether a fault of the policy was logged
        self._zone = zone
        self._outliers = Outliers(ejection)
        self._trials: set[Placed] = set()  # calls with which a server that was out is tried
        self._health: list[Health] = []
        self._readonly: frozenset[str] = frozenset()
        self._repeatable: frozenset[str] = frozenset()
        self._writers: _Group[S] = _Group([], zone)
        self._readers = self._writers

    def choose(
        self, method: str, wishes: Wishes | None, now: float, but: S | None = None, *, trial: bool = True
    ) -> S | None:
        """An open server, but not that one; None where there is none. `trial`: whether it may be one that is out, to see whether it is
        well again."""
        if self.stale or self._outliers.changed:
            self._refresh()
        reads = self._readers is not self._writers and method in self._readonly
        group = self._readers if reads and not (wishes is not None and wishes.primary) else self._writers
        among = group.fit
        if but is not None:
            among = [server for server in among if server is not but]
        if reads:
            session = wishes.session if wishes is not None and wishes.session is not None else self._versions
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
        """The policy, which may be the user's own: a fault of it must cost no call."""
        try:
            chosen: Any = self._policy.choose(among, now)
            for server in among:
                if server is chosen:
                    return server
            raise ValueError("it chose what is none of the servers that it was given")
        except BaseException as error:
            if not self._reported:
                self._reported = True
                text = "the policy %s failed; such calls go to the server with the fewest"
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
        """It got its result."""
        if call.streams:
            self.ended(call, server, now)
            return
        seconds = now - call.sent
        server.answered(seconds, now)
        self._went_well(call, server, seconds, now)

    def ended(self, call: Placed, server: S, now: float) -> None:
        """The server is well, but the time tells nothing: a stream ended, or an error came that is the caller's own."""
        server.failures = 0
        if not call.streams:
            server.progressed = now
        self._went_well(call, server, None, now)

    def _went_well(self, call: Placed, server: S, seconds: float | None, now: float) -> None:
        if self._trials and self._ends_trial(call):
            self._outliers.went_well(server.health, seconds, self._health, now)

    def failed(self, call: Placed, server: S, now: float) -> None:
        """The server or the way to it was at fault: an error, no answer in time, or another server had it sooner."""
        tried = self._ends_trial(call)
        if not call.streams:
            server.outlasted(now - call.sent, now)
        self._outliers.failed(server.health, self._health, now, tried=tried)

    def left(self, call: Placed, server: S, now: float) -> None:
        """It is no longer at that server, for whatever reason."""
        server.left(streams=call.streams)
        if self._trials and self._ends_trial(call):
            self._outliers.given_up(server.health, now)
            self.stale = True

    def replaced(self, duplicate: Placed, call: Placed) -> None:
        """What was sent as the duplicate is the call from now on."""
        if self._ends_trial(duplicate):
            self._trials.add(call)

    def _ends_trial(self, call: Placed) -> bool:
        if call not in self._trials:
            return False
        self._trials.remove(call)
        return True

    def heard(self, server: S, now: float) -> None:
        """A server that was asked has said something."""
        self._outliers.heard(server.health, now)

    def review(self, now: float) -> None:
        """Which servers are slow, and how much each gets: where `look` is not due, as nothing is in flight for long."""
        if self.stale:
            self._refresh()
        self._outliers.review(self._health, now)

    def look(self, now: float) -> tuple[list[S], list[S]]:
        """The servers to be asked whether they are there, and those that have fallen silent."""
        if self.stale:
            self._refresh()
        asked, silent = self._outliers.look(self._health, now)
        # (their loads are servers of this balancer)
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
    """Those that are known to have these versions; all, where none is: a replica waits until it has them."""
    if not seen:
        return servers
    return [
        server
        for server in servers
        if server.role != "replica" or server.reached >= seen.get(server.service, 0)
    ] or servers
