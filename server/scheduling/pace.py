"""Decides whether calls of a method may share a batch, which pays only for short calls.

It knows no event loop and no clock.
"""

from __future__ import annotations

# Seconds from which a call is worth a hand-over of its own, which takes about 10 us.
LONG = 0.00003

# Seconds. Two stalls of workers that lie closer together may be one stall of the whole machine.
APART = 0.0015

# Seconds after which calls that were long are batched again. The pause doubles each time that they
# are still long, up to the second value.
AGAIN, RARELY = 1.0, 64.0


class Pace:
    """The pace of one method. Until the time `until`, each of its calls goes to a worker alone."""

    __slots__ = ("_pause", "_stuck", "until")

    def __init__(self) -> None:
        self.until = 0.0
        self._pause = AGAIN
        self._stuck: float | None = None  # when a worker stalled, if none ran well since

    def ran(self, calls: int, long: int, now: float, *, stuck: bool) -> None:
        """Record a batch that a worker has run: its `calls`, and how many of them were `long`.

        A few may be long because the thread lost the processor or the interpreter lock. `stuck`:
        the worker stalled on the batch. A single stall may be chance too.
        """
        if now < self.until:
            return  # a batch formed before the pause
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
