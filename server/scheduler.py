"""What runs next: which of the calls that wait may begin, by priority, deadline, turn and what they need.

It knows no loop, no clock and no socket: the time comes in as an argument, and what may begin goes out as a value. All that a call
needs is a `Resource`: a worker of its pool, a place under its method's limit or the server's, and what the user has named. Calls of one
method need the same, so each method has a queue of its own, and only the first of each queue has to be looked at.

The order in a queue, and between those that can begin:

1. Rank: the interval of `aging` seconds in which a call came, less its priority. Of two calls that came in one interval the higher
   priority is first, and a call gains one priority for each interval that it waits longer: nothing starves.
2. Turn: clients take turns, so that one with thousands of calls holds up nobody (start-time fair queueing; Goyal, Vin and Cheng,
   SIGCOMM 1996).
3. Deadline: of one client's calls, and of clients whose turn is the same, what is due first.
4. Arrival.

A call that waits for what is taken does not hold up others that could run. But where it has waited for longer than `aging` for what is
named, it claims all that it needs, and no call behind it gets any of that: many small needs would starve a large one.
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


class Verdict(enum.Enum):
    """What becomes of a call."""

    BEGIN = "begin"
    WAIT = "wait"
    SHED = "shed"  # it would not end in its time


class Client(Protocol):
    """Who takes turns."""

    turn: int


class Schedulable(Protocol):
    """What is known of a call. `began` and `held` are the scheduler's to write."""

    @property
    def session(self) -> Client: ...
    @property
    def queue(self) -> Queue | None: ...  # None only of one that the scheduler is not given

    priority: int
    deadline: float | None
    ended: bool  # nobody wants it any more
    began: float
    held: Needs


C = TypeVar("C", bound=Schedulable)


class Ordered:
    """The least first: a line where what comes is in order already, as it mostly is, and a heap for what is not."""

    __slots__ = ("_heap", "_line")

    def __init__(self) -> None:
        self._line: deque[Any] = deque()
        self._heap: list[Any] = []

    def push(self, entry: Any) -> None:
        line = self._line
        if not line or line[-1] <= entry:
            line.append(entry)
        else:
            heappush(self._heap, entry)

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

    def __iter__(self) -> Iterator[Any]:
        yield from self._line
        yield from self._heap


class Queue:
    """The calls of one method. `named` is what a user has named of its needs; a `pool` has its workers, and `limiters` learn how many
    calls may run."""

    __slots__ = ("calls", "limiters", "name", "named", "needs", "pool", "seconds", "size", "tickets")

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
        self.seconds = 0.0  # that a call runs for, on average; known where there are limiters
        # A ticket for each call that waits. It says which client's call is next; that client's own calls are in their order by themselves.
        self.size = 0
        self.tickets = Ordered()
        self.calls: dict[Client, Ordered] = {}

    def fits(self) -> bool:
        """Whether all that a call needs is free."""
        for resource, amount in self.needs:  # noqa: SIM110 - `all` takes twice as long
            if resource.taken + amount > resource.total:
                return False
        return True


class Scheduler(Generic[C]):
    """The calls that wait, and what those that run hold.

    `add` says what becomes of a new call, `finished` and `release` take note of what is free again; after some of these, it is to be asked
    what is `following`: then nothing waits that could begin.
    """

    def __init__(self, aging: float = 1.0) -> None:
        self._aging = aging
        self._queues: dict[Queue, None] = {}  # those in which calls wait
        self._claimed: set[Resource] = set()
        self._turn = 0
        self._number = 0

    def add(self, call: C, now: float) -> Verdict:
        """A call has come."""
        queue = call.queue
        assert queue is not None
        if not queue.size and queue.fits() and not (self._claimed and self._is_claimed(queue)):
            self._begin(call, queue, now)
            return Verdict.BEGIN
        priority, deadline, client = call.priority, call.deadline, call.session
        if queue.limiters and deadline is not None:
            left = deadline - now - queue.seconds
            if any(limiter.too_late(priority, left) for limiter in queue.limiters):
                return Verdict.SHED
        client.turn = turn = max(client.turn, self._turn) + 1
        self._number = number = self._number + 1
        rank = floor(now / self._aging) - priority
        due = inf if deadline is None else deadline
        if not queue.size:
            self._queues[queue] = None
        queue.size += 1
        queue.tickets.push((rank, turn, due, number, now, client))
        calls = queue.calls.get(client)
        if calls is None:
            calls = queue.calls[client] = Ordered()
        calls.push((rank, due, number, call))
        for limiter in queue.limiters:
            limiter.waits(priority)
        return Verdict.WAIT

    def following(self, now: float) -> list[C]:
        """All that waits no longer, in its order: what holds what it needs begins; what does not is shed, perhaps because it has ended."""
        found: list[C] = []
        queues = self._queues
        while len(queues) > 1:
            queue = self._first(now)
            if queue is None:
                return found
            self._take(queue, now, found, 1)
        for queue in list(queues):  # the one that is left, if any
            self._claimed.clear()
            self._take(queue, now, found, queue.size)
        return found

    def _first(self, now: float) -> Queue | None:
        """Of several queues the one whose call is next; None where all have to wait."""
        claimed = self._claimed
        claimed.clear()
        for queue in sorted(self._queues, key=_ticket):
            if queue.fits() and not (claimed and self._is_claimed(queue)):
                return queue
            if queue.named and now - queue.tickets.first[4] > self._aging:
                claimed.update(resource for resource, _ in queue.named)
                claimed.update(each for each, amount in queue.needs if each.taken + amount > each.total)
        return None

    def _take(self, queue: Queue, now: float, found: list[C], most: int) -> None:
        """So many calls of that queue, or as many as fit."""
        tickets, by_client, needs, limiters = queue.tickets, queue.calls, queue.needs, queue.limiters
        for _ in range(most):
            if not queue.fits():
                break
            _, turn, _, _, _, client = tickets.pop()
            calls = by_client[client]
            call: C = calls.pop()[3]
            if not calls:
                del by_client[client]
            queue.size -= 1
            if turn > self._turn:
                self._turn = turn
            found.append(call)
            if limiters and self._is_late(call, queue, now):
                continue
            if not call.ended:
                for resource, amount in needs:
                    resource.taken += amount
                call.held = needs
                call.began = now
        if not queue.size:
            del self._queues[queue]

    def _is_late(self, call: C, queue: Queue, now: float) -> bool:
        """Whether a call that now waits no longer would not end in its time."""
        for limiter in queue.limiters:
            limiter.waits(call.priority, -1)
        return call.deadline is not None and now + queue.seconds > call.deadline

    def finished(self, call: C, now: float, *, ran: bool = True) -> None:
        """A call is over, and gives back what it holds. `ran` tells whether the time that it took is one that such calls take."""
        held, call.held = call.held, ()
        for resource, amount in held:
            resource.taken -= amount
        queue = call.queue
        assert queue is not None
        if queue.pool is not None:
            queue.pool.ended(now)
        if queue.limiters and ran:
            seconds = now - call.began
            queue.seconds += (seconds - queue.seconds) * (_NEWEST if queue.seconds else 1.0)
            for limiter in queue.limiters:
                limiter.finished(queue.name, call.began, now)

    def release(self, call: C, resource: Resource) -> None:
        """A call gives back one of the things that it holds, and goes on."""
        for each in call.held:
            if each[0] is resource:
                resource.taken -= each[1]
                call.held = tuple(other for other in call.held if other is not each)

    def waiting(self) -> dict[int, int]:
        """How many calls wait, by priority. It looks at all of them: a count would cost every call."""
        return dict(
            Counter(
                entry[3].priority
                for queue in self._queues
                for calls in queue.calls.values()
                for entry in calls
            )
        )

    def _begin(self, call: C, queue: Queue, now: float) -> None:
        needs = queue.needs
        for resource, amount in needs:
            resource.taken += amount
        call.held = needs
        call.began = now

    def _is_claimed(self, queue: Queue) -> bool:
        return any(resource in self._claimed for resource, _ in queue.needs)


def _ticket(queue: Queue) -> Any:
    return queue.tickets.first
