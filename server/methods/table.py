"""The method table: builds a scheduler from the server's options, and holds each served method."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from msgspec import Raw

from ...backends.base import Loop
from ...errors import UsageError
from ...metrics.snapshot import ServerSnapshot
from ...state.cache import Entries
from ...state.once import Keys
from ...state.store import State
from .. import executors
from ..declare.service import ADAPTIVE, Method, Service
from ..executors import Executor
from ..options import SchedulingOptions
from ..scheduling.limiter import Limiter
from ..scheduling.pace import Pace
from ..scheduling.resources import Named, Needs, Pool, Resource
from ..scheduling.scheduler import Queue, Scheduler
from .once import Once
from .statistics import MethodStatistics

# Reason of a replica to refuse a method.
_READS_ONLY = "this server is a replica of the primary's data: it takes readonly methods only"


@dataclass(slots=True)
class ServedMethod:
    """A method as one server serves it."""

    method: Method
    short: Callable[[Raw], tuple[Any, ...]] | None  # `Arguments.short`
    bind: Callable[..., tuple[tuple[Any, ...], dict[str, Any]]]  # `Arguments.bind`
    queue: Queue | None  # of waiting calls; None if calls never wait
    never: str  # why its calls can never run here; "" if they can
    statistics: MethodStatistics
    executor: Executor | None  # None if it runs in this process
    once: Once | None  # if it runs once for each key
    in_thread: bool  # in a native thread, whatever the loop's workers are
    cached: Entries[Any] | None  # results, if the method has a cache
    # Whether its handler runs inline and returns the reply itself; False once it returned a future.
    immediate: bool
    # Queue of calls that go to a worker as a batch, and whether they may now; None if never.
    batches: Queue | None = None
    pace: Pace | None = None
    # End times of its inline calls in this turn; None if durations are not recorded.
    ends: list[float] | None = None

    @property
    def in_a_row(self) -> bool:
        """Whether a worker may run several of its calls in sequence, as one scheduled call."""
        return (
            self.queue is not None
            and self.queue.pool is not None
            and not self.queue.limiters  # they learn from each call
            and not self.never
            and self.method.is_plain
            and self.executor is None
            and self.once is None
            and self.cached is None
        )


class MethodTable:
    """The methods of one server, with their scheduler, pools, limits and executors."""

    def __init__(
        self,
        service: Service,
        loop: Loop,
        scheduling: SchedulingOptions,
        state: State | None = None,
        *,
        replica: bool = False,
    ) -> None:
        self._service = service
        self._state = state
        self._replica = replica
        self._keys = None
        if state is not None and not replica:
            self._keys = Keys(state.engine, state.renewals, service.name, state.saw)
        if service.needs_state and state is None:
            raise _no_state(f"service {service.name!r}")
        self.scheduler: Scheduler[Any] = Scheduler(scheduling["aging"])
        self._scheduling = scheduling
        self._named = Named(scheduling["resources"] or {})
        self._fixed: list[Resource] = []
        self._learned: list[Limiter] = []
        self._chance = random.Random()  # noqa: S311 - spreads measurements
        self._server = self._limit("(all)", scheduling["limit"])
        workers = Pool("workers", loop.workers, cooperative=loop.cooperative)
        self._pools = {"workers": workers}
        self._executors: dict[str, Executor] = {}
        self._caches: list[Entries[Any]] = []
        if loop.cooperative:
            self._pools["thread"] = Pool("thread", loop.threads)

    def serve(self, method: Method) -> ServedMethod:
        """The method as this server serves it."""
        if self._replica and (method.once is not None or not method.flags.readonly):
            arguments = method.arguments
            return ServedMethod(
                method,
                arguments.short,
                arguments.bind,
                None,
                _READS_ONLY,
                MethodStatistics(),
                None,
                None,
                False,
                None,
                False,
            )
        name = self._place(method)
        # Dask's own scheduler handles resources of its workers.
        named, never = self._named.needs({} if name == "dask" else method.resources)
        executor = self._executor(name) if name in executors.ELSEWHERE else None
        queue = None if method.inline else self._queue(method, named, name)
        cached = None if method.cache is None else Entries[Any](method.cache)
        if cached is not None:
            self._service.caches.append(cached)
            self._caches.append(cached)
        checked = method.result_check is not None
        immediate = method.inline and not method.is_stream and cached is None and not checked
        once, arguments = self._once(method), method.arguments
        return ServedMethod(
            method,
            arguments.short,
            arguments.bind,
            queue,
            never,
            MethodStatistics(),
            executor,
            once,
            name == "thread",
            cached,
            immediate,
        )

    def batch(self, served: ServedMethod) -> None:
        """Let its calls go to a worker in batches, if that is possible."""
        queue = served.queue
        if served.in_a_row and queue is not None and queue.pool is not None and not queue.named:
            served.batches, served.pace = queue.sharing(queue.pool.batches), Pace()

    def close(self) -> None:
        """Close the executors and drop the caches: no more calls run."""
        for cached in self._caches:
            self._service.caches.remove(cached)
        self._caches.clear()
        for executor in self._executors.values():
            executor.close()

    def _once(self, method: Method) -> Once | None:
        if method.once is None:
            return None
        if self._state is None or self._keys is None:
            raise _no_state(f"method {method.name!r} has once=True, and")
        return Once(method, self._keys, self._state)

    def _place(self, method: Method) -> str | None:
        """The name of the method's executor; None for the loop's workers.

        The server's or the service's default counts only for methods that can run there.
        """
        if method.executor is not None or not method.is_plain or method.inline:
            return method.executor
        name = self._scheduling["executor"] or self._service.executor
        fits = method.is_found and method.once is None and (name != "dask" or method.is_repeatable)
        return name if name not in executors.ELSEWHERE or fits else None

    def _executor(self, name: str) -> Executor:
        if name not in self._executors:
            executor = self._executors[name] = executors.make(name, self._scheduling)
            self._pools[name] = Pool(name, executor.slots)
        return self._executors[name]

    def priority(self, own: int, asked: int) -> int:
        """The priority of a call, from the method's `own` and the caller's `asked`."""
        most = self._scheduling["max_priority"]
        return own + max(-most, min(asked, most))

    def look(self, now: float) -> None:
        """Periodic update of pools and adaptive limits."""
        for pool in self._pools.values():
            pool.look(now)
        for limiter in self._learned:
            limiter.look(now)

    def report(self, snapshot: ServerSnapshot) -> None:
        """Write the scheduler's state into a metrics snapshot. From any thread."""
        snapshot.waiting = self.scheduler.waiting()
        snapshot.workers = {name: pool.workers for name, pool in self._pools.items()}
        snapshot.workers_taken = {name: pool.taken for name, pool in self._pools.items()}
        snapshot.limits = {each.name: int(each.total) for each in self._fixed}
        snapshot.limits |= {each.resource.name: int(each.limit) for each in self._learned}

    def snapshot(self) -> dict[str, Any]:
        """Waiting calls by priority, and use of resources, workers and limits, as plain data."""
        return {
            "waiting": self.scheduler.waiting(),
            "resources": self._named.used(),
            "workers": {
                name: {"taken": pool.taken, "total": pool.workers}
                for name, pool in self._pools.items()
            },
            "limits": {
                each.name: {"taken": each.taken, "limit": each.total, "learned": False}
                for each in self._fixed
            }
            | {
                each.resource.name: {
                    "taken": each.resource.taken,
                    "limit": each.limit,
                    "learned": True,
                }
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

    def _queue(self, method: Method, named: Needs, place: str | None) -> Queue | None:
        """The method's queue; None if every call begins at once."""
        limits = self._limit(method.name, method.limit)
        pool = None
        if not method.is_stream:  # a stream runs only as fast as its reader
            limits += self._server
            if not method.is_coroutine:
                pool = self._pools.get(place or "workers", self._pools["workers"])
        if pool is None and not limits and not named:
            return None
        return Queue(
            method.name,
            pool=pool,
            limits=[each for each in limits if isinstance(each, Resource)],
            named=named,
            limiters=[each for each in limits if isinstance(each, Limiter)],
        )


def _no_state(who: str) -> UsageError:
    return UsageError(
        f"{who} needs a state store: give the server one, such as --state sqlite:///state.db"
    )
