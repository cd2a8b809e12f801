"""Counts a client's calls for metrics: their outcomes, durations and retries."""

from __future__ import annotations

import time
from collections import Counter

from ...errors import MethodNotFound, code_of
from ...metrics.recorder import OTHER, CallRecorder
from ...metrics.snapshot import Calls, ClientSnapshot
from ..conversation.calls import OutgoingCall
from ..conversation.links import Link


class ClientRecorder:
    """The recorder of one client and all its views. Written where calls end, read by any thread."""

    def __init__(self) -> None:
        self._calls = CallRecorder()
        self._retries: Counter[tuple[str, str]] = Counter()

    def ended(
        self, call: OutgoingCall, error: BaseException | None, now: float | None = None
    ) -> None:
        """A call has ended, at the time `now` if it is known."""
        code, method = code_of(error), call.method
        if code == MethodNotFound.code:
            method = OTHER
        seconds = (time.monotonic() if now is None else now) - call.made
        self._calls.ended(method, code, max(0.0, seconds), is_stream=call.message.credit > 0)

    def again(self, link: Link, reason: str) -> None:
        """A call that this server has not answered is sent again."""
        self._retries[link.service, reason] += 1

    def report(self) -> ClientSnapshot:
        """The counts so far. Any thread may call this."""
        return ClientSnapshot(Calls.of(self._calls), dict(self._retries))
