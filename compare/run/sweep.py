"""A cell of each lane with ever more callers: what a scalability law is fitted to."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from ..load.plan import Load
from ..results import Point
from .budget import SWEEP_WARMUP, SWEEP_WINDOW
from .measured import Times, round_of
from .pair import Pair
from .processes import ChildFailed
from .request import Job, Lane, Request


class Sweep:
    """Those of one run. `load` is a lane's cell in a round; `failed` is told of what a process did not survive."""

    def __init__(
        self,
        request: Request,
        chance: random.Random,
        load: Callable[[Job, int, Lane], Load],
        failed: Callable[[Lane, ChildFailed], object],
    ) -> None:
        self.points: list[Point] = []
        self._request = request
        self._chance = chance
        self._load = load
        self._failed = failed

    def run(self, number: int, pairs: Sequence[tuple[Lane, Pair]], measured: Callable[[], object]) -> None:
        """One window of each lane with each number of callers, in random order."""
        turns = [
            (many, lane, pair, job)
            for many in self._request.sweep
            for lane, pair in pairs
            if (job := self._request.swept(lane))
        ]
        self._chance.shuffle(turns)
        gone: set[Lane] = set()
        for many, lane, pair, job in turns:
            if lane in gone:
                continue
            load = self._load(job, number, lane)._replace(
                concurrency=many, warmup=SWEEP_WARMUP, window=SWEEP_WINDOW, rate=None
            )
            try:
                window = pair.measure(load)
            except ChildFailed as error:
                gone.add(lane)
                self._failed(lane, error)
                continue
            found = round_of(number, 0.0, window, Times.of(window.sample.timed), None, repeated=False)
            self.points.append(
                Point(
                    backend=lane.backend,
                    client=lane.client,
                    style=job.style,
                    workload=job.workload,
                    round=number,
                    concurrency=many,
                    throughput=found.throughput,
                    p50=found.p50,
                    p99=found.p99,
                    mean=found.mean,
                )
            )
            measured()
