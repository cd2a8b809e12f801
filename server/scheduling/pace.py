"""Decides whether a method's calls go to a worker in batches: only if they are short.

No loop, no clock.
"""

from __future__ import annotations

# Seconds: a call at least this long is worth a hand-over of its own, which takes about 10 us.
LONG = 0.00003

# Seconds: two stuck batches further apart than this are not one pause of the machine.
APART = 0.0015

# First and longest pause in seconds before long calls are batched again; it doubles while they stay
# long.
AGAIN, RARELY = 1.0, 64.0


class Pace:
    """The pace of one method. Before the time `until`, each call goes to a worker by itself."""

    __slots__ = ("_pause", "_stuck", "until")

    def __init__(self) -> None:
        self.until = 0.0
        self._pause = AGAIN
        self._stuck: float | None = None  # when a worker got stuck, if all batches since did

    def ran(self, calls: int, long: int, now: float, *, stuck: bool) -> None:
        """Record a batch of `calls`, of which `long` were long.

        A few long ones do not count: their thread may have lost the processor or the interpreter.
        `stuck`: the worker did not get on with the batch; the first time may be chance as well.
        """
        if now < self.until:
            return  # this batch was made before the pause
        again = stuck and self._stuck is not None and now - self._stuck > APART
        if again or long > 1 + calls // 4:
            self.until = now + self._pause
            self._pause = min(2 * self._pause, RARELY)
        elif calls > 1 and not stuck:
            self._pause = AGAIN
        if not stuck:
            self._stuck = None
        elif self._stuck is None:
            self._stuck = now
