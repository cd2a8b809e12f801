"""What a server was told about what may run when, made into a scheduler, and what it keeps of each method that it serves."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..backends.base import Loop
from ..errors import UsageError
from ..protocol.messages import CallOptions
from ..protocol.tally import Tally
from .limiter import Limiter
from .resources import Named, Needs, Pool, Resource, checked
from .scheduler import Queue, Scheduler
from .service import ADAPTIVE, Method, checked_limit


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


@dataclass(frozen=True, slots=True)
class Served:
    """A method as one server serves it: where its calls wait, None if they never do; why none can ever run here, "" if they can; and what
    became of them."""

    method: Method
    queue: Queue | None
    never: str
    tally: Tally


class Schedule:
    """One server's."""

    def __init__(self, loop: Loop, rules: Rules) -> None:
        self.scheduler: Scheduler[Any] = Scheduler(rules.aging)
        self._rules = rules
        self._named = Named(rules.resources)
        self._fixed: list[Resource] = []
        self._learned: list[Limiter] = []
        self._chance = random.Random()  # noqa: S311 - spreads measurements
        self._server = self._limit("(all)", rules.limit)
        workers = Pool("workers", loop.workers, cooperative=loop.cooperative)
        self._pools = {"workers": workers}
        if loop.cooperative:
            self._pools["threads"] = Pool("threads", loop.threads)

    def serve(self, method: Method) -> Served:
        """What is kept of that method."""
        named, never = self._named.needs(method.resources)
        return Served(method, None if method.inline else self._queue(method, named), never, Tally())

    def priority(self, method: Method, options: CallOptions | None) -> int:
        """What a call has for which its caller asked for so much."""
        return method.priority + (0 if options is None else min(options.priority, self._rules.max_priority))

    def snapshot(self) -> dict[str, Any]:
        """What waits, by priority, and what is taken of what there is, as plain data."""
        return {
            "waiting": dict(self.scheduler.waiting),
            "resources": self._named.used(),
            "workers": {
                name: {"taken": pool.taken, "total": pool.workers} for name, pool in self._pools.items()
            },
            "limits": {
                each.name: {"taken": each.taken, "limit": each.total, "learned": False}
                for each in self._fixed
            }
            | {
                each.resource.name: {"taken": each.resource.taken, "limit": each.limit, "learned": True}
                for each in self._learned
            },
        }

    def _limit(self, name: str, limit: int | str | None) -> list[Resource | Limiter]:
        if limit is None:
            return []
        if limit == ADAPTIVE:
            self._learned.append(Limiter(name, self._chance))
            return [self._learned[-1]]
        self._fixed.append(Resource(name, int(limit)))
        return [self._fixed[-1]]

    def _queue(self, method: Method, named: Needs) -> Queue | None:
        """None for a method of which every call begins at once."""
        limits = self._limit(method.name, method.limit)
        pool = None
        if not method.is_stream:  # which is at a worker only as far as its reader lets it
            limits += self._server
            if not method.is_coroutine:
                native = method.executor == "thread" and "threads" in self._pools
                pool = self._pools["threads" if native else "workers"]
        if pool is None and not limits and not named:
            return None
        return Queue(
            method.name,
            pool=pool,
            limits=[each for each in limits if isinstance(each, Resource)],
            named=named,
            limiters=[each for each in limits if isinstance(each, Limiter)],
        )
