"""Calls that are sent to a second server as well, when the first takes its time: what comes first is the answer, and the other call is
cancelled."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import Any

import msgspec

from ..balancing.hedging import Hedging
from .calls import OutgoingCall


class Twin(OutgoingCall):
    """The same call at a second server. What comes of it first is what comes of `first`; an error there leaves it to that one alone."""

    __slots__ = ("first",)

    def __init__(self, first: OutgoingCall) -> None:
        super().__init__(msgspec.structs.replace(first.message), first.settings, first.deadline)
        self.first = first
        self.planned().session = first.planned().session

    def finish(self, result: Any, error: BaseException | None) -> None:
        """Its machine ends the first of the two."""


class Hedges:
    """Of one client: which calls may be sent to a second server, and when."""

    def __init__(self) -> None:
        self._hedging = Hedging()
        self._due: list[tuple[float, int, OutgoingCall]] = []  # a heap, by time

    def sent(self, call: OutgoingCall, now: float) -> None:
        """A call that may have a twin is sent, for the first time."""
        after = self._hedging.after(call.method)
        if after is not None and (call.deadline is None or now + after < call.deadline):
            heapq.heappush(self._due, (now + after, call.id, call))

    def answered(self, call: OutgoingCall, now: float) -> None:
        self._hedging.took(call.method, now - call.sent)

    def due(self, now: float) -> Iterator[OutgoingCall]:
        """The calls that are to be sent to another server now, as far as they have no answer and there may be so many."""
        while self._due and self._due[0][0] <= now:
            call = heapq.heappop(self._due)[2]
            if not call.ended and call.link is not None and self._hedging.spend():
                yield call

    def next(self) -> float | None:
        """When `due` will have something; calls that have ended are passed over."""
        while self._due and self._due[0][2].ended:
            heapq.heappop(self._due)
        return self._due[0][0] if self._due else None
