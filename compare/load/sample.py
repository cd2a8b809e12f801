"""A load generator's sample of one slice: raw times, which the parent evaluates later."""

from __future__ import annotations

from array import array

import msgspec

from ..results import Consistency


class Timed(msgspec.Struct, frozen=True):
    """The timed calls of one method, as arrays of native float64: seconds from the window's
    opening, in no order.

    `due` is when a call should be sent (in a closed loop: when it was made), `sent` when it was
    sent, `ended` when its correct reply came.
    """

    method: str
    due: bytes
    sent: bytes
    ended: bytes

    @classmethod
    def of(cls, method: str, times: list[tuple[float, float, float]]) -> Timed:
        columns = (
            array("d", column).tobytes()
            for column in (zip(*times, strict=True) if times else ((), (), ()))
        )
        return cls(method, *columns)


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """One slice of one cell, from the first call to the last reply.

    It took `seconds`, in which `answered` calls had a correct reply; `calls` is those within the
    window, which `opened` at that reading of `time.monotonic`, a clock that all processes share. In
    an open loop `due` arrivals fell in the window, and `skipped` of all arrivals were never sent.
    `errors` and `wrong` count from the first call to the last. `whole` is Little's law, see
    `results.Little`; `residence` is the mean response time in seconds. `consistency` is the result
    of the workload's check, if it has one. `made` counts all calls, failed ones included.
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
