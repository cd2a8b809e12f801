"""Lets in the calls that their callers may make, and as many of them as they may: before a method is looked up or an argument decoded.

It stands before the dispatcher, and only where there are access rules or rates: a server without them does not pass through here.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence

from ... import errors
from ...logs.bounded import Bounded
from ...protocol.messages import Call, MethodFlags, Notify
from ...protocol.server import Session
from ..calls.refusals import Refusals
from ..process.logs import shortened
from .rates import Buckets, Rate
from .rules import ANONYMOUS, AccessFile, AccessRule

log = logging.getLogger("ringback.server")
audit = logging.getLogger("ringback.audit")


class AccessControl:
    """One server's. `rate` is of each client for which no rule says another."""

    def __init__(
        self, access: AccessFile | None, rate: Rate | None, methods: Mapping[str, MethodFlags]
    ) -> None:
        self._access = access
        self._rate = rate
        self._flags = methods
        self._buckets = Buckets()
        self._audits: dict[str, Bounded] = {}  # by user, so that none can hide what another does
        self._warn()

    def passed(
        self, refusals: Refusals, session: Session, messages: Sequence[Call | Notify]
    ) -> list[Call | Notify]:
        """Those calls that may go on; the others are refused."""
        now = time.monotonic()
        passed = []
        for message in messages:
            rule = None
            if self._access is not None:
                rule = self._access.rules.may(session.user, message.method)
                if rule is None:
                    self._deny(refusals, session, message)
                    continue
                _bound(message, rule)
            rate = self._rate
            # Who has a key has one bucket, however many connections; of a rule with a rate, one for this rule.
            client: object = session.user or session.client
            if rule is not None and rule.rate is not None:
                rate, client = rule.rate, (client, rule.number)
            if rate is not None and not self._buckets.take(client, rate, now):
                error = errors.ResourceExhausted(f"more than {rate}")
                refusals.refuse(session, message, error)
                continue
            passed.append(message)
        return passed

    def visible(self, session: Session) -> Mapping[str, MethodFlags] | None:
        """What a client is told of the methods; None where it is to know nothing of this service."""
        if self._access is None:
            return self._flags
        rules = self._access.rules
        if not rules.is_known(session.user):
            return None
        return {method: self._flags[method] for method in rules.allowed(session.user, self._flags)}

    def look(self, now: float) -> None:
        """From time to time."""
        self._buckets.look(now)
        if self._access is not None and self._access.look(now):
            self._buckets.clear()
            self._warn()

    def _deny(self, refusals: Refusals, session: Session, message: Call | Notify) -> None:
        # (the text is the same for a method that is not there)
        method, who = shortened(message.method), session.user or ANONYMOUS
        error = errors.PermissionDenied(f"{who} may not call {method!r}")
        refusals.refuse(session, message, error, quiet=True)
        write = self._audits.get(session.user)
        if write is None:
            write = self._audits[session.user] = Bounded(audit)
        fields = {"user": session.user, "peer": session.peer, "method": method, "code": error.code}
        write(logging.WARNING, "refused %s at %s: may not call %r", who, session.peer, method, fields=fields)

    def _warn(self) -> None:
        if self._access is not None:
            for unused in self._access.rules.unused([*self._flags, "ringback.stats"]):
                log.warning("access rules %s: no method fits %s", self._access.path, unused)


def _bound(message: Call | Notify, rule: AccessRule) -> None:
    """Bring down what the caller asks for."""
    options, most = message.options, rule.max_priority
    if most is not None and options is not None and options.priority > most:
        options.priority = most
