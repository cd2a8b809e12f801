"""All callers of one slice, its arrivals in an open loop, and its sample."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Iterator
from functools import partial
from time import monotonic

from ..results import Consistency
from ..scenario import Ended, Script
from ..workloads.table import Workload
from .callers import Caller, TimeInFlight
from .plan import LoadPlan, SlicePlan
from .sample import Sample, Timed

# Seconds after the window's end in which its due calls may still be sent, as timers wake late.
_LATE = 0.05

# Seconds beyond its timeout after which a call counts as lost.
_GRACE = 5.0


def arrivals(rate: float, seconds: float, seed: int) -> Iterator[float]:
    """Times in seconds at which calls are due, ascending: a Poisson process, as of many independent
    callers, with `rate` calls a second on average. The same seed gives the same times."""
    chance = random.Random(seed)  # noqa: S311
    time = chance.expovariate(rate)
    while time < seconds:
        yield time
        time += chance.expovariate(rate)


class Batch:
    """The callers of one slice and, in an open loop, its arrivals. Created when the slice
    begins."""

    def __init__(self, plan: LoadPlan, cell: SlicePlan, workload: Workload) -> None:
        self.cell = cell
        self.workload = workload
        self.began = monotonic()
        load = cell.load
        self.opens = self.began + load.warmup
        self.closes = self.opens + load.window
        times = arrivals(load.rate, load.warmup + load.window, load.seed) if load.rate else ()
        self.dues = [self.began + time for time in times]
        self.stops = self.closes + _LATE
        # By then every call has its reply or its timeout.
        self.gives_up = self.closes + plan.timeout + _GRACE
        self.most = plan.max_in_flight // 2
        self.flight = TimeInFlight()
        numbers = itertools.count(cell.first)
        self._new_script = partial(workload.script, numbers, plan.cpu_steps)
        self._consistency: Consistency | None = None
        self._broken = ""
        self.callers: list[Caller] = []
        for _ in range(load.concurrency):
            self.another()
        self._first = self._last = self.began

    def starts(self) -> None:
        self._first = monotonic()

    def ends(self) -> None:
        self._last = monotonic()

    @property
    def patience(self) -> float:
        """Seconds to wait for the calls in flight."""
        return max(0.0, self.gives_up - monotonic())

    def another(self) -> Caller:
        turn = len(self.callers) * 7  # callers do not time the same turns
        caller = Caller(self._new_script, self.closes, self.cell.load.stride, self.flight, turn)
        self.callers.append(caller)
        return caller

    def check(self, left: int) -> None:
        """Raises RuntimeError if `left` callers have not ended."""
        if left:
            raise RuntimeError(
                f"{self.cell.load.workload} {self.cell.load.style}: {left} of {len(self.callers)} "
                f"callers got neither reply nor error "
                f"within {self.gives_up - self.began:.0f} s"
            )

    @property
    def _answered(self) -> int:
        return sum(caller.answered for caller in self.callers)

    @property
    def _failed(self) -> int:
        return sum(caller.errors.total() + caller.wrong for caller in self.callers)

    def ending(self) -> Script:
        """The calls after all callers have ended: those of the workload's check."""
        if self.workload.check is None:
            return
        ended = Ended(self._answered, self._failed, self.cell.first)
        try:
            self._consistency = yield from self.workload.check(ended)
        except Exception as error:
            self._broken = f"the check at the end: {type(error).__name__}: {error}".partition("\n")[
                0
            ].rstrip(": ")

    def sample(self) -> Sample:
        """The sample of the slice, after all callers have ended."""
        opens, closes, load = self.opens, self.closes, self.cell.load
        methods: dict[str, list[tuple[float, float, float]]] = {}
        inside = spent = 0.0
        answered = 0
        for caller in self.callers:
            spent += caller.lost
            for method, due, sent, ended in caller.times:
                spent += ended - sent
                if opens <= ended < closes:
                    answered += 1
                    inside += ended - sent
                # In an open loop the calls due in the window count, however late they end: the
                # slowest ones end after it.
                if opens <= (due if load.open else ended) < closes:
                    methods.setdefault(method, []).append(
                        (due - opens, sent - opens, ended - opens)
                    )
        return Sample(
            opened=opens,
            answered=self._answered,
            seconds=max(1e-6, self._last - self._first),
            calls=answered * load.stride,
            errors=dict(sum((caller.errors for caller in self.callers), Counter[str]())),
            wrong=sum(caller.wrong for caller in self.callers) + bool(self._broken),
            why=next((caller.why for caller in self.callers if caller.why), self._broken),
            timed=[Timed.of(method, times) for method, times in methods.items()],
            due=sum(opens <= due < closes for due in self.dues),
            skipped=len(self.dues) - sum(caller.made for caller in self.callers)
            if load.open
            else 0,
            whole=spent / self.flight.area if self.flight.area else None,
            residence=inside / answered if answered else 0.0,
            consistency=self._consistency,
            made=self._answered + self._failed,
        )
