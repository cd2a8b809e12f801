"""Decides which waiting calls begin: by priority, deadline, fair turns and free resources.

The scheduler has no loop, clock or socket: it takes the time as an argument and returns the calls
that may begin. Everything that a call needs is a `Resource`: a worker of its pool, a slot under its
method's or the server's limit, and resources that the user has named. Calls of one method have the
same needs, so each method has its own queue, and only the head of each queue needs a check.

The order in a queue, and between queues whose heads can begin:

1. Rank: the interval of `aging` seconds in which a call arrived, minus its priority. Of two calls
   of one interval, the higher priority goes first. A call gains one priority for each interval that
   it waits longer, so nothing starves. A call behind others of its own client does not age:
   otherwise a client with thousands of calls would go before all later clients.
2. Turn: clients take turns, so that a client with thousands of calls delays no other (start-time
   fair queueing; Goyal, Vin and Cheng, SIGCOMM 1996).
3. Deadline: the earliest first, among the calls of one client and of clients with the same turn.
4. Arrival.

A call that waits for a busy resource does not block others that could run. But a call that has
waited longer than `aging` for named resources claims all its needs, and no call behind it may take
them: otherwise many small needs would starve a large one.
"""

from __future__ import annotations

import enum
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from heapq import heappop, heappush
from math import floor, inf
from typing import Any, Generic, Protocol, TypeVar

from .limiter import Limiter
from .resources import Needs, Pool, Resource

# The weight of the newest running time in a method's mean.
_NEWEST = 0.1


class Decision(enum.Enum):
    """The decision about a new call."""

    BEGIN = "begin"
    WAIT = "wait"
    SHED = "shed"  # it would miss its deadline


class TurnTaker(Protocol):
    """A client, for fair turns."""

    turn: int


class Schedulable(Protocol):
    """A call as the scheduler sees it. The scheduler writes `began` and `held`."""

    @property
    def session(self) -> TurnTaker: ...
    @property
    def calls(self) -> int: ...  # number of calls that it stands for in `waiting`
    @property
    def queue(self) -> Queue | None: ...  # None only for calls that bypass the scheduler

    priority: int
    deadline: float | None
    ended: bool  # it is over and must not run
    began: float
    held: Needs


C = TypeVar("C", bound=Schedulable)

_BEGIN = Decision.BEGIN  # looked up once (see protocol/server.py)


class Ordered:
    """A priority queue, least entry first.

    A deque holds entries that arrive in order, as most do; a heap holds the others.
    """

    __slots__ = ("_heap", "_line")

    def __init__(self) -> None:
        self._line: deque[Any] = deque()
        self._heap: list[Any] = []

    def push(self, entry: Any) -> bool:
        """Add an entry. Returns whether it is now the first."""
        line = self._line
        if line and line[-1] <= entry:
            line.append(entry)
            return False
        if line:
            heappush(self._heap, entry)
        else:
            line.append(entry)
        return self.first is entry

    def pop(self) -> Any:
        line, heap = self._line, self._heap
        if not heap:
            return line.popleft()
        return heappop(heap) if not line or heap[0] < line[0] else line.popleft()

    @property
    def first(self) -> Any:
        line, heap = self._line, self._heap
        if not heap:
            return line[0]
        return heap[0] if not line else min(heap[0], line[0])

    def __bool__(self) -> bool:
        return bool(self._line or self._heap)

    def __len__(self) -> int:
        return len(self._line) + len(self._heap)

    def __iter__(self) -> Iterator[Any]:
        yield from self._line
        yield from self._heap


class Line:
    """One client's calls in one queue, in order.

    `ticket` orders the first of these calls among those of other clients.
    """

    __slots__ = ("calls", "client", "since", "ticket")

    def __init__(self, client: TurnTaker) -> None:
        self.client = client
        self.since = -inf  # the interval of its last turn
        self.calls = Ordered()  # entries: rank, deadline, unique number, arrival, call
        self.ticket: Any = None  # rank, turn, deadline, unique number, arrival, line


class Queue:
    """The waiting calls of one method, and their needs.

    `named`: needs of resources that a user has named. `pool`: its workers. `limiters`: adaptive
    limits on its running calls.
    """

    __slots__ = (
        "inside",
        "limiters",
        "lines",
        "name",
        "named",
        "needs",
        "pool",
        "seconds",
        "tickets",
    )

    def __init__(
        self,
        name: str,
        *,
        pool: Pool | None = None,
        limits: Sequence[Resource] = (),
        named: Needs = (),
        limiters: Sequence[Limiter] = (),
    ) -> None:
        self.name = name
        self.pool = pool
        self.named = named
        self.limiters = tuple(limiters)
        units = [*limits, *(limiter.resource for limiter in limiters)]
        self.needs: Needs = (*(pool.needs if pool else ()), *((each, 1) for each in units), *named)
        # Needs that a call holds once a worker has taken it from the pool's door.
        self.inside: Needs = tuple(
            each for each in self.needs if pool is None or each[0] is not pool.door
        )
        self.seconds = 0.0  # mean running time; kept only with limiters
        self.lines: dict[TurnTaker, Line] = {}
        self.tickets = Ordered()  # of all lines; a replaced ticket is ignored

    def sharing(self, resource: Resource) -> Queue:
        """A second queue for the same needs plus one unit of `resource`.

        For queues with a pool and without named needs.
        """
        assert self.pool is not None
        limits = [each for each, _ in self.needs[len(self.pool.needs) :]]
        return Queue(self.name, pool=self.pool, limits=[*limits, resource])

    def fits(self) -> bool:
        """Whether everything that a call needs is free."""
        for resource, amount in self.needs:  # noqa: SIM110 - `all` takes twice as long
            if resource.taken + amount > resource.total:
                return False
        return True


class Scheduler(Generic[C]):
    """The waiting calls, and the resources that running calls hold.

    `add` decides about a new call; `finished` and `release` free resources. After any of these,
    call `following` for the calls that can now begin.
    """

    def __init__(self, aging: float = 1.0) -> None:
        self._aging = aging
        self._queues: dict[Queue, None] = {}  # queues with waiting calls
        self._claimed: set[Resource] = set()
        self._turn = 0  # the last turn taken
        self._now = self._interval = 0.0
        self._number = 0

    def add(self, call: C, now: float) -> Decision:
        """Decide about a new call: begin, wait or shed."""
        queue = call.queue
        assert queue is not None
        lines = queue.lines
        if not lines and queue.fits() and not (self._claimed and self._is_claimed(queue)):
            self._begin(call, queue.needs, now)
            return _BEGIN
        deadline, client = call.deadline, call.session
        if queue.limiters:
            left = inf if deadline is None else deadline - now - queue.seconds
            if any(limiter.too_late(client, call.priority, left) for limiter in queue.limiters):
                return Decision.SHED
            for limiter in queue.limiters:
                limiter.waits(client, call.priority)
        self._number = number = self._number + 1
        if now != self._now:  # many calls arrive at the same time
            self._now, self._interval = now, floor(now / self._aging)
        rank = self._interval - call.priority
        entry = (rank, inf if deadline is None else deadline, number, now, call)
        line = lines.get(client)
        if line is None:
            self._queues[queue] = None
            line = lines[client] = Line(client)
            line.calls.push(entry)
            self._stand(queue, line, max(client.turn, self._turn) + 1)
        elif line.calls.push(entry):
            self._stand(queue, line, line.ticket[1])
        return Decision.WAIT

    def following(self, now: float) -> list[C]:
        """All calls that stop waiting, in order.

        A call that holds its needs begins. Any other is shed: too late, or already ended.
        """
        found: list[C] = []
        queues = self._queues
        for queue in queues:
            if queue.pool is not None:
                queue.pool.adapt(now)
        while len(queues) > 1:
            first = self._next(now)
            if first is None:
                return found
            self._take(first, now, found)
        self._claimed.clear()
        for queue in list(queues):  # at most one is left
            while queue.lines and queue.fits():
                self._take(queue, now, found)
            if queue.lines:
                self._claim(queue, now)
        return found

    def swept(self) -> list[C]:
        """Remove and return all calls that ended while waiting."""
        found: list[C] = []
        for queue in list(self._queues):
            lines = list(queue.lines.values())
            queue.tickets = Ordered()
            for line in lines:
                kept = [entry for entry in line.calls if not entry[4].ended]
                for entry in line.calls:
                    if entry[4].ended:
                        found.append(entry[4])
                        self._waits_no_longer(entry[4], queue)
                if kept:
                    line.calls = Ordered()
                    for entry in sorted(kept):
                        line.calls.push(entry)
                    self._stand(queue, line, line.ticket[1])
                else:
                    del queue.lines[line.client]
            if not queue.lines:
                del self._queues[queue]
        return found

    def withdraw(self, queue: Queue, client: TurnTaker, now: float) -> list[C]:
        """Remove and return a client's calls in a queue, in order. For queues without limiters."""
        line = queue.lines.pop(client, None)
        if line is None:
            return []
        line.ticket = None
        if not queue.lines:
            self._leave(queue, now)
        return [entry[4] for entry in sorted(line.calls)]

    def _leave(self, queue: Queue, now: float) -> None:
        """Drop an empty queue."""
        del self._queues[queue]
        if queue.pool is not None and all(other.pool is not queue.pool for other in self._queues):
            queue.pool.idle(now)

    def _first(self, queue: Queue) -> Any:
        """The next valid ticket of the queue."""
        tickets = queue.tickets
        while True:
            ticket = tickets.first
            line = ticket[5]
            if line.ticket is not ticket:
                tickets.pop()
            elif ticket[1] <= line.client.turn:  # the client had its turn in another queue
                tickets.pop()
                self._stand(queue, line, line.client.turn + 1)
            else:
                return ticket

    def _stand(self, queue: Queue, line: Line, turn: int) -> None:
        """Give the line a ticket for its first call.

        A call does not age behind others of its own client; otherwise clients would not take turns.
        """
        rank, due, number, came, _ = line.calls.first
        rank += max(0, line.since - floor(came / self._aging))
        line.ticket = ticket = (rank, turn, due, number, came, line)
        if len(queue.tickets) > 2 * len(queue.lines) + 1024:  # most tickets are stale
            queue.tickets = Ordered()
            for ticket in sorted(each.ticket for each in queue.lines.values()):
                queue.tickets.push(ticket)
        else:
            queue.tickets.push(ticket)

    def _next(self, now: float) -> Queue | None:
        """The queue of the call that begins next; None if all must wait."""
        claimed = self._claimed
        claimed.clear()
        for queue in sorted(self._queues, key=self._first):
            if queue.fits() and not (claimed and self._is_claimed(queue)):
                return queue
            self._claim(queue, now)
        return None

    def _claim(self, queue: Queue, now: float) -> None:
        """Reserve the needs of the queue's first call if it has waited longer than `aging`."""
        if queue.named and now - self._first(queue)[4] > self._aging:
            self._claimed.update(resource for resource, _ in queue.named)
            self._claimed.update(
                each for each, amount in queue.needs if each.taken + amount > each.total
            )

    def _take(self, queue: Queue, now: float, found: list[C]) -> None:
        """Take the queue's next call, and those behind it while no other client waits."""
        _, turn, _, _, _, line = self._first(queue)
        tickets, calls, needs, limiters = queue.tickets, line.calls, queue.needs, queue.limiters
        tickets.pop()
        alone = not tickets and len(self._queues) == 1
        while True:
            call: C = calls.pop()[4]
            found.append(call)
            if limiters:
                self._waits_no_longer(call, queue)
            late = limiters and call.deadline is not None and now + queue.seconds > call.deadline
            if not (call.ended or late):
                self._begin(call, needs, now)
            if not calls:
                del queue.lines[line.client]
                if not queue.lines:
                    self._leave(queue, now)
                break
            if not (alone and queue.fits()):
                line.since = floor(now / self._aging)
                self._stand(queue, line, turn + 1)
                break
        line.client.turn = turn
        self._turn = max(self._turn, turn)

    def finished(self, call: C, now: float, *, ran: bool = True) -> None:
        """Free the resources of an ended call.

        `ran`: whether its duration is typical of such calls, for the limiters to learn from.
        """
        held, call.held = call.held, ()
        for resource, amount in held:
            resource.taken -= amount
        queue = call.queue
        assert queue is not None
        if queue.pool is not None:
            queue.pool.ended += 1
        if queue.limiters and ran:
            seconds = now - call.began
            queue.seconds += (seconds - queue.seconds) * (_NEWEST if queue.seconds else 1.0)
            for limiter in queue.limiters:
                limiter.finished(queue.name, call.began, now)

    def release(self, call: C, resource: Resource) -> None:
        """Free one resource of a call that goes on."""
        for each in call.held:
            if each[0] is resource:
                resource.taken -= each[1]
                call.held = tuple(other for other in call.held if other is not each)

    def waiting(self) -> dict[int, int]:
        """Waiting calls by priority. It scans all of them; a running count would slow each call."""
        lines = (line for queue in self._queues for line in queue.lines.values())
        waiting: Counter[int] = Counter()
        for line in lines:
            for entry in line.calls:
                waiting[entry[4].priority] += entry[4].calls
        return dict(waiting)

    def _begin(self, call: C, needs: Needs, now: float) -> None:
        for resource, amount in needs:
            resource.taken += amount
        call.held = needs
        call.began = now

    def _waits_no_longer(self, call: C, queue: Queue) -> None:
        for limiter in queue.limiters:
            limiter.waits(call.session, call.priority, -1)

    def _is_claimed(self, queue: Queue) -> bool:
        return any(resource in self._claimed for resource, _ in queue.needs)
