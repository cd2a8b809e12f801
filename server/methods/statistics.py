"""What became of the calls of each method: counted by a server so cheaply that it is always on, told by `ringback.stats`."""

from __future__ import annotations

from math import log2

# Parts of an octave, and the shortest time that has one of its own, in seconds. `seconds_at` says what an index stands for.
PARTS = 4
SHORTEST = 1e-6
_LONGEST = 120


class MethodStatistics:
    """Calls that are over, those of them that ended in an error, and those that were refused unstarted.

    `times` counts response times, from arrival to answer, by how many quarters of an octave they are above a microsecond. Of the calls that
    end in one turn of the loop, one is timed.
    """

    __slots__ = ("calls", "errors", "largest_item", "refused", "times")

    def __init__(self) -> None:
        self.calls = 0
        self.errors = 0
        self.largest_item = 0  # in bytes, of the arguments that streamed; not told
        self.refused = 0
        self.times: list[int] = []

    def took(self, seconds: float) -> None:
        """A call was answered so long after it came."""
        index = min(_LONGEST, int(PARTS * log2(seconds / SHORTEST))) if seconds > SHORTEST else 0
        try:
            self.times[index] += 1
        except IndexError:
            self.times += [0] * (index - len(self.times)) + [1]

    def snapshot(self) -> dict[str, object]:
        """As plain data."""
        return {
            "calls": self.calls,
            "errors": self.errors,
            "refused": self.refused,
            "times": list(self.times),
        }


def seconds_at(index: int) -> float:
    """The middle of what is counted at that index of `times`."""
    return SHORTEST * float(2 ** ((index + 0.5) / PARTS))
