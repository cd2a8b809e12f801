"""Whether calls of a method may go to a worker together: where they are short. No loop, no clock."""

from __future__ import annotations

# Seconds from which on a call is worth a hand-over of its own, which takes some 10 us.
LONG = 0.00003

# Seconds by which two stops lie apart that are no one stop of the machine's.
APART = 0.0015

# Seconds until calls that were long are tried together again; twice as many each time that they are still long.
AGAIN, RARELY = 1.0, 64.0


class Pace:
    """Of one method. Before the time `until`, each of its calls goes to a worker by itself."""

    __slots__ = ("_pause", "_stuck", "until")

    def __init__(self) -> None:
        self.until = 0.0
        self._pause = AGAIN
        self._stuck: float | None = None  # when a worker was stuck, if none has got on since

    def ran(self, calls: int, long: int, now: float, *, stuck: bool) -> None:
        """A worker has run `calls`, of which `long` were long: a few may be as its thread lost the processor or the interpreter.
        `stuck`: it did not get on with them, which once may be chance too."""
        if now < self.until:
            return  # of a batch that was made before
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
