"""Admits calls by access rules and rates, before the server looks up a method or decodes arguments.

It stands before the dispatcher. A server without access rules and rates does not use it.
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
    """Access control of one server. `rate`: rate of each client without a rate in its rule."""

    def __init__(
        self, access: AccessFile | None, rate: Rate | None, methods: Mapping[str, MethodFlags]
    ) -> None:
        self._access = access
        self._rate = rate
        self._flags = methods
        self._buckets = Buckets()
        # By user, so that one cannot crowd out the log lines of another.
        self._audits: dict[str, Bounded] = {}
        self._warn()

    def passed(
        self, refusals: Refusals, session: Session, messages: Sequence[Call | Notify]
    ) -> list[Call | Notify]:
        """Return the admitted calls; refuse the others."""
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
            # A user with a key has one bucket over all connections, and one for each rule with a
            # rate.
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
        """The methods that a client sees; None if it may know nothing of this service."""
        if self._access is None:
            return self._flags
        rules = self._access.rules
        if not rules.is_known(session.user):
            return None
        return {method: self._flags[method] for method in rules.allowed(session.user, self._flags)}

    def look(self, now: float) -> None:
        """Periodic check: drop full buckets, and reload the rules if their file has changed."""
        self._buckets.look(now)
        if self._access is not None and self._access.look(now):
            self._buckets.clear()
            self._warn()

    def _deny(self, refusals: Refusals, session: Session, message: Call | Notify) -> None:
        # The text is the same for an unknown method.
        method, who = shortened(message.method), session.user or ANONYMOUS
        error = errors.PermissionDenied(f"{who} may not call {method!r}")
        refusals.refuse(session, message, error, quiet=True)
        write = self._audits.get(session.user)
        if write is None:
            write = self._audits[session.user] = Bounded(audit)
        fields = {"user": session.user, "peer": session.peer, "method": method, "code": error.code}
        write(
            logging.WARNING,
            "refused %s at %s: may not call %r",
            who,
            session.peer,
            method,
            fields=fields,
        )

    def _warn(self) -> None:
        if self._access is not None:
            for unused in self._access.rules.unused([*self._flags, "ringback.stats"]):
                log.warning("access rules %s: no method fits %s", self._access.path, unused)


def _bound(message: Call | Notify, rule: AccessRule) -> None:
    """Lower the call's priority to the rule's maximum."""
    options, most = message.options, rule.max_priority
    if most is not None and options is not None and options.priority > most:
        options.priority = most
