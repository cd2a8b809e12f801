"""What a client knows of the load of one server. The client's machine writes it down, policies read it."""

from __future__ import annotations

from collections import deque
from math import exp

# Seconds in which what was measured counts for a third: Finagle's peak EWMA, whose other half is that a longer time counts at once.
DECAY = 10.0
# Answers of which it is remembered how long they took.
REMEMBERED = 32
# The expected seconds of a server that has not answered yet, while it is asked: it is given one call, and no flood.
UNKNOWN = 1e3


class Load:
    """One server. `weight` is the share of calls that it is meant to get; `share`, from 0 to 1, how much of that it gets now;
    `awaited` are those of its calls in flight whose time tells something: a stream takes as long as it likes.
    `owed` belongs to the policy."""

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
        """It is connected anew: whatever was known may be of another."""
        self.share = 1.0
        self.owed = 0.0
        self.in_flight = 0
        self.awaited = 0
        self.failures = 0  # in a row
        self.progressed = 0.0  # when it last answered, or was first asked since it had answered everything
        self.forget_times()

    def forget_times(self) -> None:
        """It is well again: how long it took while it was not would keep calls away for a minute."""
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
        """A call has got its result, so long after it was sent."""
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
        """A call was given up so long after it was sent: it would have taken longer."""
        self.progressed = now
        if seconds >= self._latency:
            self._latency, self._measured = seconds, now

    @property
    def burden(self) -> float:
        """Calls in flight with one more, for what it is meant to get."""
        return (self.in_flight + 1) / (self.weight * self.share)

    def cost(self, now: float) -> float:
        """Seconds that one more call is expected to take, for what it is meant to get: the response time, or how long nothing was
        answered, if that is more, for each call in flight."""
        if self._measured:
            seconds = self._latency * exp((self._measured - now) / DECAY)
        else:
            seconds = UNKNOWN if self.awaited else 0.0
        if self.awaited and now - self.progressed > seconds:
            seconds = now - self.progressed
        return seconds * self.burden
