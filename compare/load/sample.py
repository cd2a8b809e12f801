"""What a load generator found in one window: raw times, so that whatever is made of them is made later and elsewhere."""

from __future__ import annotations

from array import array

import msgspec

from ..results import Consistency


class Timed(msgspec.Struct, frozen=True):
    """The timed calls of one method: native float64 each, seconds from the window's opening, in no order.

    `due` is when a call was to be sent (of a closed loop: when it was), `sent` when it was, `ended` when its right answer came.
    """

    method: str
    due: bytes
    sent: bytes
    ended: bytes

    @classmethod
    def of(cls, method: str, times: list[tuple[float, float, float]]) -> Timed:
        columns = (
            array("d", column).tobytes() for column in (zip(*times, strict=True) if times else ((), (), ()))
        )
        return cls(method, *columns)


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """One slice of one cell, from the first call to the last reply: so many `seconds`, in which `answered` calls were answered rightly. Its
    window `opened` then, on the clock of `time.monotonic`, which all processes share.

    `calls` are those of them within the window. Of an open loop, `due` arrivals fell in it and `skipped` of all arrivals were never sent.
    `errors` and `wrong` count from the first call to the last. `whole` is Little's law, see `results.Little`; `residence` is the mean
    seconds that a call took. `consistency` is what the workload's check found at the end, if it has one. `made` are all calls, whatever
    came of them.
    """

    opened: float
    answered: int
    seconds: float
    calls: int
    errors: dict[str, int]
    wrong: int
    timed: list[Timed]
    due: int = 0
    skipped: int = 0
    whole: float | None = None
    residence: float = 0.0
    why: str = ""
    consistency: Consistency | None = None
    made: int = 0
