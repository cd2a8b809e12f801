"""A client's data on the load of one server. The client's machine writes it, policies read it."""

from __future__ import annotations

from collections import deque
from math import exp

# Seconds in which a measurement decays to about a third (1/e): Finagle's peak EWMA. A longer time
# counts at once.
DECAY = 10.0
# Replies whose response times are kept.
REMEMBERED = 32
# Expected seconds of a server that has calls but has not replied yet: it gets one call, and no
# flood.
UNKNOWN = 1e3


class Load:
    """The load of one server.

    `weight` is the share of calls that the server should get; `share`, from 0 to 1, is the part of
    it that the server gets now. `awaited` are its calls in flight whose time tells something: a
    stream may take any time. `owed` belongs to the policy.
    """

    __slots__ = (
        "_latency",
        "_measured",
        "awaited",
        "endpoint",
        "failures",
        "in_flight",
        "owed",
        "progressed",
        "share",
        "times",
        "weight",
        "zone",
    )

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self.zone = ""
        self.weight = 1.0
        self.forget()

    def forget(self) -> None:
        """Reset at a new connection: the old data may be of another server."""
        self.share = 1.0
        self.owed = 0.0
        self.in_flight = 0
        self.awaited = 0
        self.failures = 0  # in a row
        # when it last replied, or got the first call after it had replied to all
        self.progressed = 0.0
        self.forget_times()

    def forget_times(self) -> None:
        """Reset a recovered server's times: the old ones would keep calls away for a minute."""
        self.times: deque[float] = deque(maxlen=REMEMBERED)
        self._latency = 0.0
        self._measured = 0.0

    def begun(self, now: float, *, streams: bool = False) -> None:
        """A call is sent."""
        self.in_flight += 1
        if not streams:
            if not self.awaited:
                self.progressed = now
            self.awaited += 1

    def left(self, *, streams: bool = False) -> None:
        """A call is no longer there, for whatever reason."""
        self.in_flight -= 1
        if not streams:
            self.awaited -= 1

    def answered(self, seconds: float, now: float) -> None:
        """A call has its result, `seconds` after it was sent."""
        self.failures = 0
        self.progressed = now
        self.times.append(seconds)
        if seconds >= self._latency:
            self._latency = seconds
        else:
            kept = exp((self._measured - now) / DECAY)
            self._latency = self._latency * kept + seconds * (1.0 - kept)
        self._measured = now

    def outlasted(self, seconds: float, now: float) -> None:
        """A call was given up `seconds` after it was sent: it would have taken longer."""
        self.progressed = now
        if seconds >= self._latency:
            self._latency, self._measured = seconds, now

    @property
    def burden(self) -> float:
        """Calls in flight plus one, divided by the weight and share."""
        return (self.in_flight + 1) / (self.weight * self.share)

    def cost(self, now: float) -> float:
        """Expected seconds of one more call: the response time times the burden.
        The time since the last reply replaces the response time if it is longer."""
        if self._measured:
            seconds = self._latency * exp((self._measured - now) / DECAY)
        else:
            seconds = UNKNOWN if self.awaited else 0.0
        if self.awaited and now - self.progressed > seconds:
            seconds = now - self.progressed
        return seconds * self.burden
