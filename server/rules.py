"""What a server was told about what may run when, made into a scheduler with a queue for each method that has to wait for anything."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..backends.base import Loop
from ..errors import UsageError
from .limiter import Limiter
from .resources import Named, Pool, Resource, checked
from .scheduler import Queue, Scheduler
from .service import ADAPTIVE, Method, Service, checked_limit


@dataclass(frozen=True)
class Rules:
    """`resources`: what there is of each, by name. `limit`: calls that run at once, or "adaptive". `aging`: seconds of waiting that are
    worth one priority. `max_priority`: the most that a caller may ask for. Raises UsageError."""

    resources: Mapping[str, float] = field(default_factory=dict)
    limit: int | str | None = None
    aging: float = 1.0
    max_priority: int = 100

    def __post_init__(self) -> None:
        checked(self.resources, "the server")
        checked_limit(self.limit, "the server")
        if not self.aging > 0:
            raise UsageError(f"aging must be above 0 seconds, not {self.aging!r}")


class Schedule:
    """One server's: `queues` by method, for those that wait; `refused` says which methods can never run here, and why."""

    def __init__(self, service: Service, loop: Loop, rules: Rules) -> None:
        self.rules = rules
        self.scheduler: Scheduler[Any] = Scheduler(rules.aging)
        self.named = Named(rules.resources)
        self.refused: dict[str, str] = {}
        self.limits: list[Resource | Limiter] = []
        self._chance = random.Random()  # noqa: S311 - spreads measurements
        self._server = self._limit("server", rules.limit)
        workers = Pool("workers", loop.workers, cooperative=loop.cooperative)
        threads = Pool("threads", loop.threads) if loop.cooperative else workers
        self.pools = {"workers": workers, "threads": threads}
        self.queues = {
            name: queue
            for name, method in service.methods.items()
            if (queue := self._queue(method)) is not None
        }

    def priority(self, method: Method, asked: int) -> int:
        """What a call has for which its caller asked for so much."""
        return method.priority + min(asked, self.rules.max_priority)

    def _limit(self, name: str, limit: int | str | None) -> list[Resource | Limiter]:
        if limit is None:
            return []
        made = Limiter(name, self._chance) if limit == ADAPTIVE else Resource(name, int(limit))
        self.limits.append(made)
        return [made]

    def _queue(self, method: Method) -> Queue | None:
        """None for a method of which every call begins at once."""
        if method.inline:
            return None
        named, why = self.named.needs(method.resources)
        if why:
            self.refused[method.name] = why
        limits = self._limit(method.name, method.limit)
        pool = None
        if not method.is_stream:  # which is at a worker only as far as its reader lets it
            limits += self._server
            if not method.is_coroutine:
                pool = self.pools["threads" if method.executor == "thread" else "workers"]
        if pool is None and not limits and not named:
            return None
        return Queue(
            method.name,
            pool=pool,
            limits=[each for each in limits if isinstance(each, Resource)],
            named=named,
            limiters=[each for each in limits if isinstance(each, Limiter)],
        )
