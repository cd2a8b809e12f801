"""What a client counts for metrics: how its calls end, how long they take, and how often one is sent again."""

from __future__ import annotations

import time
from collections import Counter

from ...errors import MethodNotFound, code_of
from ...metrics.recorder import OTHER, CallRecorder
from ...metrics.snapshot import Calls, ClientSnapshot
from ..conversation.calls import OutgoingCall
from ..conversation.links import Link


class ClientRecorder:
    """Of one client and all its views. Written where its calls end, read by any thread."""

    def __init__(self) -> None:
        self._calls = CallRecorder()
        self._retries: Counter[tuple[str, str]] = Counter()

    def ended(self, call: OutgoingCall, error: BaseException | None, now: float | None = None) -> None:
        """A call has ended, at that time if it is known."""
        code, method = code_of(error), call.method
        if code == MethodNotFound.code:
            method = OTHER
        seconds = (time.monotonic() if now is None else now) - call.made
        self._calls.ended(method, code, max(0.0, seconds), is_stream=call.message.credit > 0)

    def again(self, link: Link, reason: str) -> None:
        """A call is sent again that this server has not answered."""
        self._retries[link.service, reason] += 1

    def report(self) -> ClientSnapshot:
        """What has been counted, from any thread."""
        return ClientSnapshot(Calls.of(self._calls), dict(self._retries))
