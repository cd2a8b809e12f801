"""Servers as formulas: what a test says that settings do, without any process."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from ringback.compare.run.measured import latency
from ringback.compare.run.pair import ANYWHERE
from ringback.tune.measure import Seen
from ringback.tune.objective import Objective
from ringback.tune.request import TuneRequest
from ringback.tune.results import Figures
from ringback.tune.settings import Settings
from ringback.tune.space import Space

SPACE = Space(("asyncio", "gevent", "threading", "twisted"), uvloop=True, processes=4)


def request(
    space: Space = SPACE,
    objective: str | None = None,
    trials: int | None = 30,
    seconds: float | None = None,
    seed: int = 1,
) -> TuneRequest:
    return TuneRequest(
        service="app.py:service",
        scenario="s.py",
        space=space,
        objective=Objective.parse(objective) if objective else None,
        style="request-reply",
        concurrency=64,
        connections=8,
        trials=trials,
        seconds=seconds,
        seed=seed,
        placement=ANYWHERE,
    )


def seen(throughput: float, takes: float = 0.01, *, many: int = 2000, **changed: object) -> Seen:
    """A window in which every call took so many seconds."""
    responses = np.full(many, takes)
    figures = {"client_busy": 0.5, "little": True, **changed}
    made = Figures(
        throughput=throughput, calls=many, latency=latency(responses), window=1.0, **figures
    )
    return Seen(made, responses)


def server(
    throughput: Callable[[Settings], float], takes: Callable[[Settings], float] = lambda _: 0.01
):
    """What `measure` is, of a server with such calls/s and response times."""
    return lambda settings: seen(throughput(settings), takes(settings))


def workers(settings: Settings) -> int:
    return settings.workers or 32
