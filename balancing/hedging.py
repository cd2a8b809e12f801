"""When a call is sent to a second server as well: after the time in which 95 of 100 such calls are answered, and for one call in twenty at
most (Dean and Barroso, "The Tail at Scale", 2013)."""

from __future__ import annotations

from collections import deque
from math import ceil

# Of the last so many calls of a method the 95th percentile is taken, once there are enough, and anew after so many more.
LAST, ENOUGH, ANEW = 256, 20, 16
PERCENTILE = 0.95
# Second calls: of all that may have one this part, saved up to so many.
PART, SAVED = 0.05, 10.0


class Hedging:
    """Of one client: the response times of each method, and how many second calls there may be."""

    def __init__(self) -> None:
        self._methods: dict[str, _Times] = {}
        self._saved = 1.0

    def after(self, method: str) -> float | None:
        """Seconds after which a call that is being sent may be sent again; None where too little is known."""
        self._saved = min(self._saved + PART, SAVED)
        times = self._methods.get(method)
        return None if times is None else times.percentile

    def took(self, method: str, seconds: float) -> None:
        """A call was answered after so long."""
        times = self._methods.get(method)
        if times is None:
            times = self._methods[method] = _Times()
        times.add(seconds)

    def spend(self) -> bool:
        """Take one second call from what has been saved; False where there is none."""
        if self._saved < 1.0:
            return False
        self._saved -= 1.0
        return True


class _Times:
    __slots__ = ("_left", "_times", "percentile")

    def __init__(self) -> None:
        self._times: deque[float] = deque(maxlen=LAST)
        self._left = ENOUGH
        self.percentile: float | None = None

    def add(self, seconds: float) -> None:
        self._times.append(seconds)
        self._left -= 1
        if not self._left:
            self._left = ANEW
            ordered = sorted(self._times)
            self.percentile = ordered[ceil(len(ordered) * PERCENTILE) - 1]
