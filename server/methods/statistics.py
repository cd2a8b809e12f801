"""Statistics of each method's calls. They cost little and are always on; see `ringback.stats`."""

from __future__ import annotations

from math import log2

# Histogram buckets per octave, and the start of the first one in seconds; it counts shorter times
# too. `seconds_at` maps an index back to seconds.
PARTS = 4
SHORTEST = 1e-6
_LONGEST = 120


class MethodStatistics:
    """Ended calls, those of them that ended in an error, and calls refused before their start.

    `times` is a histogram of response times, from arrival to reply, in quarter octaves above a
    microsecond. It samples one of the calls that end in one turn of the loop.
    """

    __slots__ = ("calls", "errors", "largest_item", "refused", "times")

    def __init__(self) -> None:
        self.calls = 0
        self.errors = 0
        self.largest_item = 0  # bytes, of streamed arguments; not in the snapshot
        self.refused = 0
        self.times: list[int] = []

    def took(self, seconds: float) -> None:
        """Record the response time of a call."""
        index = min(_LONGEST, int(PARTS * log2(seconds / SHORTEST))) if seconds > SHORTEST else 0
        try:
            self.times[index] += 1
        except IndexError:
            self.times += [0] * (index - len(self.times)) + [1]

    def snapshot(self) -> dict[str, object]:
        """The statistics as plain data."""
        return {
            "calls": self.calls,
            "errors": self.errors,
            "refused": self.refused,
            "times": list(self.times),
        }


def seconds_at(index: int) -> float:
    """The middle of the histogram bucket at that index of `times`, in seconds."""
    return SHORTEST * float(2 ** ((index + 0.5) / PARTS))
