"""Whether calls of a method may go to a worker together: where they are short. No loop, no clock."""

from __future__ import annotations

# Seconds from which on a call is worth a hand-over of its own, which takes some 10 us.
LONG = 0.00003

# Seconds until calls that were long are tried together again; twice as many each time that they are still long.
AGAIN, RARELY = 1.0, 64.0


class Pace:
    """Of one method. Before the time `until`, each of its calls goes to a worker by itself."""

    __slots__ = ("_pause", "_stuck", "until")

    def __init__(self) -> None:
        self.until = 0.0
        self._pause = AGAIN
        self._stuck = False

    def ran(self, calls: int, long: int, now: float, *, stuck: bool) -> None:
        """A worker has run so many calls, so many of which were long: a few may be as its thread lost the processor or the interpreter.
        `stuck`: it did not get on with them, which once may be chance too."""
        if long > 1 + calls // 4 or (stuck and self._stuck):
            self.until = now + self._pause
            self._pause = min(2 * self._pause, RARELY)
        elif calls > 1 and not stuck:
            self._pause = AGAIN
        self._stuck = stuck
