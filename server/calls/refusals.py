"""Refuses calls before they are dispatched."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from ... import errors
from ...logs.bounded import Bounded
from ...protocol.messages import Call, Notify, Refusal
from ...protocol.server import Session
from ...terminal import printable
from ..methods.table import ServedMethod
from ..process.logs import shortened
from .observer import CallObserver

log = logging.getLogger("ringback.server")


class Refusals:
    """The refusals of one server."""

    def __init__(self, methods: Mapping[str, ServedMethod], observer: CallObserver) -> None:
        self._methods = methods
        self._observer = observer
        self._dropped = Bounded(log)

    def refuse(
        self,
        session: Session,
        message: Call | Notify,
        error: errors.CallError,
        *,
        quiet: bool = False,
    ) -> None:
        """Refuse a call. A one-way call has no reply: its refusal is logged, unless `quiet`."""
        served = self._methods.get(message.method)
        if served is not None:
            served.statistics.refused += 1
        code, _, text = errors.to_wire(error)
        if self._observer.active:
            self._observer.refused(message, code, text)
        if isinstance(message, Call):
            session.outbox.append(Refusal(message.id, code, text, started=False))
        elif not quiet:
            method, reason = shortened(message.method), printable(shortened(str(error)))
            text = "one-way call to %r from %s dropped: %s"
            more = {"method": method, "peer": session.peer}
            self._dropped(logging.WARNING, text, method, session.peer, reason, fields=more)
