"""Counts calls by method and code, with their durations.

The thread that ends calls writes; any thread may read.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter

import msgspec

# Upper bounds of the buckets, in seconds: OpenTelemetry's conventions for RPC from 5 ms on, and
# finer ones below.
BOUNDS = (
    *(50e-6, 100e-6, 250e-6, 500e-6, 0.001, 0.0025),
    *(0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0),
)

OK = "OK"
# The label of unknown methods, and of codes beyond the limit: a peer or a handler may invent any.
OTHER = "_OTHER"
# Maximum codes of one method besides OK.
MOST_CODES = 40


class Histogram(msgspec.Struct, array_like=True):
    """Durations: the count of each bucket, the last of which is unbounded, and their sum in
    seconds."""

    counts: list[int] = msgspec.field(default_factory=lambda: [0] * (len(BOUNDS) + 1))
    seconds: float = 0.0

    def copy(self) -> Histogram:
        """A copy of the present counts."""
        return Histogram(self.counts.copy(), self.seconds)

    def add(self, seconds: float) -> None:
        """Count one duration."""
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.seconds += seconds

    def add_since(self, begin: float, ends: list[float]) -> None:
        """Count durations with a common begin and these ends, in ascending order."""
        self.seconds += sum(ends) - begin * len(ends)
        counts, counted = self.counts, 0
        for bucket in range(bisect_left(BOUNDS, ends[0] - begin), len(BOUNDS)):
            below = bisect_right(ends, begin + BOUNDS[bucket])
            counts[bucket] += below - counted
            counted = below
            if counted == len(ends):
                return
        counts[-1] += len(ends) - counted


class CallRecorder:
    """The counts of one server or client.

    `calls` and `streams` are histograms by method and code.
    """

    def __init__(self) -> None:
        self.calls: dict[tuple[str, str], Histogram] = {}
        self.streams: dict[tuple[str, str], Histogram] = {}
        self._codes: Counter[str] = Counter()

    def ended(self, method: str, code: str, seconds: float, *, is_stream: bool = False) -> None:
        """Count a call that has ended, `seconds` after it began."""
        self.histogram(method, code, is_stream=is_stream).add(seconds)

    def histogram(self, method: str, code: str, *, is_stream: bool = False) -> Histogram:
        """The histogram for such calls."""
        table = self.streams if is_stream else self.calls
        found = table.get((method, code))
        if found is not None:
            return found
        if code not in (OK, OTHER):
            if self._codes[method] == MOST_CODES:
                return self.histogram(method, OTHER, is_stream=is_stream)
            self._codes[method] += 1
        made = table[method, code] = Histogram()
        return made
