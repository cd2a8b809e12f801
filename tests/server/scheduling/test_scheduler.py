"""The scheduler, without a server: what is promised of it, of any course of events."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import floor, inf

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from ringback.errors import UsageError
from ringback.server.scheduling.resources import AHEAD, Named, Needs, Pool, Resource, checked
from ringback.server.scheduling.scheduler import Decision, Queue, Scheduler

AGING = 1.0


@dataclass(eq=False)
class Client:
    turn: int = 0


@dataclass(eq=False)
class Call:
    queue: Queue
    session: Client = field(default_factory=Client)
    priority: int = 0
    deadline: float | None = None
    ended: bool = False
    calls: int = 1
    began: float = 0.0
    held: Needs = ()
    came: float = 0.0
    name: str = ""

    def __repr__(self) -> str:
        return self.name or f"<{self.queue.name} {self.priority} at {self.came}>"


class Bench:
    """A scheduler, and a clock that tests turn."""

    def __init__(self, aging: float = AGING) -> None:
        self.scheduler: Scheduler[Call] = Scheduler(aging)
        self.now = 0.0
        self.running: list[Call] = []

    def add(self, call: Call) -> Decision:
        call.came = self.now
        verdict = self.scheduler.add(call, self.now)
        if verdict is Decision.BEGIN:
            self.running.append(call)
        return verdict

    def finish(self, call: Call) -> list[Call]:
        """What begins by that."""
        self.running.remove(call)
        self.scheduler.finished(call, self.now)
        return self.following()

    def following(self) -> list[Call]:
        begun = [call for call in self.scheduler.following(self.now) if call.held]
        self.running += begun
        return begun

    def order(self, first: Call) -> list[Call]:
        """In what order the others begin, if each ends before the next one can."""
        begun = []
        following = self.finish(first)
        while following:
            begun += following
            following = self.finish(begun[-1])
        return begun


def one_worker() -> Queue:
    return Queue("work", limits=[Resource("worker", 1)])


def waiting(bench: Bench, queue: Queue, *calls: Call) -> Call:
    """The call that runs, while those wait."""
    first = Call(queue)
    assert bench.add(first) is Decision.BEGIN
    for call in calls:
        assert bench.add(call) is Decision.WAIT
    return first


# The order


def test_a_higher_priority_begins_first() -> None:
    bench, queue = Bench(), one_worker()
    calls = [Call(queue, priority=priority) for priority in (0, 5, -3, 5, 1)]
    first = waiting(bench, queue, *calls)
    assert [call.priority for call in bench.order(first)] == [5, 5, 1, 0, -3]


def test_of_one_priority_the_earliest_deadline_begins_first_and_then_what_came_first() -> None:
    bench, queue = Bench(), one_worker()
    client = Client()
    calls = [Call(queue, client, deadline=deadline) for deadline in (None, 9.0, 3.0, 9.0, None)]
    first = waiting(bench, queue, *calls)
    assert bench.order(first) == [calls[2], calls[1], calls[3], calls[0], calls[4]]


def test_a_call_gains_a_priority_for_each_interval_that_it_waits() -> None:
    bench, queue = Bench(), one_worker()
    old = Call(queue, priority=0)
    first = waiting(bench, queue, old)
    bench.now = 2.5 * AGING
    same, higher, lower = (Call(queue, priority=priority) for priority in (2, 3, 1))
    for call in (same, higher, lower):
        bench.add(call)
    assert bench.order(first) == [higher, old, same, lower]


def test_clients_take_turns_however_many_calls_one_has() -> None:
    bench, queue = Bench(), one_worker()
    greedy, polite = Client(), Client()
    first = waiting(bench, queue, *(Call(queue, greedy) for _ in range(100)))
    late = [Call(queue, polite) for _ in range(2)]
    for call in late:
        bench.add(call)
    begun = bench.order(first)
    assert begun.index(late[0]) <= 1
    assert begun.index(late[1]) <= 3


def test_clients_take_turns_though_all_calls_of_one_are_older_than_any_of_the_other() -> None:
    bench, queue = Bench(), one_worker()
    greedy, polite = Client(), Client()
    first = waiting(bench, queue, *(Call(queue, greedy) for _ in range(100)))
    bench.now = 10 * AGING
    [served] = bench.finish(first)
    bench.now += 2.5 * AGING
    late = Call(queue, polite)
    bench.add(late)
    assert late in bench.order(served)[:2]


def test_a_client_that_was_served_alone_for_long_does_not_pay_for_that() -> None:
    bench, queue = Bench(), one_worker()
    busy, new = Client(), Client()
    first = waiting(bench, queue, *(Call(queue, busy) for _ in range(100)))
    bench.order(first)
    mine, other = Call(queue, busy), Call(queue, new)
    first = waiting(bench, queue, mine, Call(queue, busy), other)
    assert bench.order(first)[:2] in ([mine, other], [other, mine])


def test_what_has_ended_while_it_waited_is_told_and_holds_nothing() -> None:
    bench, queue = Bench(), one_worker()
    gone, there = Call(queue), Call(queue)
    first = waiting(bench, queue, gone, there)
    gone.ended = True
    bench.running.remove(first)
    bench.scheduler.finished(first, bench.now)
    assert bench.scheduler.following(bench.now) == [gone, there]
    assert gone.held == ()
    assert there.held
    assert bench.scheduler.following(bench.now) == []
    assert bench.scheduler.waiting() == {}


# What calls need


def test_a_call_that_needs_what_is_taken_holds_up_none_that_could_run() -> None:
    bench, workers = Bench(), Resource("workers", 4)
    named = Named({"gpu": 1})
    trains = Queue("train", limits=[workers], named=named.needs({"gpu": 1})[0])
    others = Queue("other", limits=[workers])
    running, blocked = Call(trains), Call(trains, priority=9)
    assert bench.add(running) is Decision.BEGIN
    assert bench.add(blocked) is Decision.WAIT
    assert [bench.add(Call(others)) for _ in range(3)] == [Decision.BEGIN] * 3
    assert bench.add(Call(others)) is Decision.WAIT
    assert bench.finish(running) == [blocked]
    assert named.used() == {"gpu": {"taken": 1, "total": 1}}


def test_small_needs_do_not_starve_a_large_one() -> None:
    bench, named = Bench(), Named({"db": 4})
    small = Queue("small", named=named.needs({"db": 1})[0])
    large = Queue("large", named=named.needs({"db": 4})[0])
    for _ in range(4):
        bench.add(Call(small))
    wanted = Call(large)
    assert bench.add(wanted) is Decision.WAIT
    for _ in range(
        100
    ):  # as soon as one ends another is there, so that never all four are free by themselves
        bench.now += 0.1
        bench.add(Call(small))
        if wanted in bench.finish(bench.running[0]):
            break
    assert wanted in bench.running
    assert bench.now < 3 * AGING


def test_a_large_need_does_not_starve_though_no_small_one_ever_waits() -> None:
    bench, named = Bench(), Named({"db": 100})
    small = Queue("small", named=named.needs({"db": 1})[0])
    large = Queue("large", named=named.needs({"db": 100})[0])
    for _ in range(50):
        bench.add(Call(small))
    wanted = Call(large)
    assert bench.add(wanted) is Decision.WAIT
    for _ in range(200):
        bench.now += 0.05
        bench.add(Call(small))
        if wanted in bench.finish(bench.running[0]):
            break
    assert wanted in bench.running


def test_what_has_ended_is_swept_from_those_that_wait() -> None:
    bench, queue = Bench(), one_worker()
    clients = [Client(), Client()]
    calls = [Call(queue, clients[number % 2], priority=number % 3) for number in range(30)]
    first = waiting(bench, queue, *calls)
    for call in calls[:20]:
        call.ended = True
    assert set(bench.scheduler.swept()) == set(calls[:20])
    assert sum(bench.scheduler.waiting().values()) == 10
    assert set(bench.order(first)) == set(calls[20:])
    assert bench.scheduler.swept() == []


def test_calls_that_overtake_each_other_leave_nothing_behind() -> None:
    bench, queue = Bench(), one_worker()
    client = Client()
    first = waiting(bench, queue, Call(queue, client, priority=-100))
    for number in range(20_000):
        bench.add(Call(queue, client, priority=number // 1_000))
        [first] = bench.finish(first)
    assert len(queue.tickets) < 2_000


def test_what_two_calls_need_of_two_things_does_not_starve_one_that_needs_both() -> None:
    bench, named = Bench(), Named({"db": 1, "gpu": 1})
    queues = [Queue(name, named=named.needs({name: 1})[0]) for name in ("db", "gpu")]
    both = Queue("both", named=named.needs({"db": 1, "gpu": 1})[0])
    for queue in queues:
        bench.add(Call(queue))
    wanted = Call(both)
    assert bench.add(wanted) is Decision.WAIT
    for turn in range(100):
        bench.now += 0.1
        bench.add(Call(queues[turn % 2]))
        if wanted in bench.finish(bench.running[0]):
            break
    assert bench.now < 3 * AGING


def test_fractions_are_given_back_as_they_were_taken() -> None:
    named = Named({"gpu": 0.3})
    queue = Queue("third", named=named.needs({"gpu": 0.1})[0])
    bench = Bench()
    for _ in range(1_000):
        calls = [Call(queue) for _ in range(3)]
        assert [bench.add(call) for call in calls] == [Decision.BEGIN] * 3
        for call in calls:
            bench.finish(call)
    assert named.used() == {"gpu": {"taken": 0, "total": 0.3}}


def test_what_can_never_run_is_told() -> None:
    named = Named({"db": 4})
    assert named.needs({"db": 5}) == ((), "it needs 5 of 'db', of which this server has 4")
    assert named.needs({"gpu": 1}) == (
        (),
        "it needs 1 of 'gpu', which this server has not been given",
    )


@pytest.mark.parametrize(
    "bad", [{"db": 0}, {"db": -1}, {"db": "4"}, {"": 1}, {"db": True}, {"db": float("nan")}, ["db"]]
)
def test_bad_resources_are_refused(bad: object) -> None:
    with pytest.raises(UsageError, match="owner"):
        checked(bad, "owner")  # type: ignore[arg-type]


def test_a_call_may_give_back_one_thing_and_go_on() -> None:
    bench, pool = Bench(), Pool("workers", 1)
    limit = Resource("limit", 2)
    queue = Queue("work", pool=pool, limits=[limit])
    first, second = Call(queue), Call(queue)
    bench.add(first)
    assert bench.add(second) is Decision.WAIT
    bench.scheduler.release(first, pool)
    assert bench.following() == [second]
    assert (pool.taken, limit.taken) == (1, 2)
    bench.finish(first)
    bench.finish(second)
    assert (pool.taken, limit.taken) == (0, 0)


def test_short_calls_are_handed_over_ahead_and_long_ones_are_not() -> None:
    for seconds, ahead in ((1e-5, AHEAD), (1e-2, 0)):
        bench, pool = Bench(), Pool("workers", 1)
        queue = Queue("work", pool=pool)
        for _ in range(2_100):
            bench.add(Call(queue))
        for _ in range(2_000):
            bench.now += seconds
            bench.finish(bench.running[0])
        assert pool.total == 1 + ahead


def test_that_few_calls_come_does_not_make_them_long() -> None:
    bench, pool = Bench(), Pool("workers", 1)
    queue = Queue("work", pool=pool)
    for _ in range(20):
        for _ in range(2_000):
            bench.add(Call(queue))
        while bench.running:
            bench.now += 1e-5
            bench.finish(bench.running[0])
        assert pool.total == 1 + AHEAD
        bench.now += 10.0


def test_after_a_rest_nothing_is_handed_over_ahead() -> None:
    for cooperative in (False, True):
        bench, pool = Bench(), Pool("workers", 1, cooperative=cooperative)
        queue = Queue("work", pool=pool)
        for _ in range(2_000):
            bench.add(Call(queue))
        while bench.running:
            bench.now += 1e-5
            bench.finish(bench.running[0])

        def ahead(pool: Pool = pool) -> int:
            return (pool if pool.door is None else pool.door).total - 1

        assert ahead() > 0
        pool.look(bench.now)
        assert ahead() > 0
        pool.look(bench.now + 2.0)
        assert ahead() == 0


# Whatever happens


class AnyCourse(RuleBasedStateMachine):
    """Calls of methods with many kinds of needs come, end, and are given up, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.bench = Bench()
        self.workers = Resource("workers", 3)
        self.named = Named({"db": 4, "gpu": 1})
        needs = [{}, {"db": 1}, {"db": 3}, {"db": 4, "gpu": 1}, {"gpu": 0.5}]
        self.resources = [self.workers, *self.named.resources.values()]
        self.queues = [
            Queue(str(amounts), limits=[self.workers], named=self.named.needs(amounts)[0])
            for amounts in needs
        ]
        limit = Resource("limit", 1)
        self.resources.append(limit)
        self.queues.append(Queue("one at a time", limits=[limit]))
        self.clients = [Client() for _ in range(3)]
        self.waits: list[Call] = []
        self.turns: dict[
            tuple[Queue, Client], float
        ] = {}  # when a client last had one, while it has calls waiting there

    @rule(data=st.data(), priority=st.integers(-2, 2), left=st.none() | st.floats(0, 3))
    def come(self, data: st.DataObject, priority: int, left: float | None) -> None:
        queue = data.draw(st.sampled_from(self.queues))
        deadline = None if left is None else self.bench.now + left
        call = Call(queue, data.draw(st.sampled_from(self.clients)), priority, deadline)
        startable = self.startable()
        if self.bench.add(call) is Decision.BEGIN:
            self.check_order(call, startable)
        else:
            self.waits.append(call)

    @precondition(lambda self: self.bench.running)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        call = data.draw(st.sampled_from(self.bench.running))
        self.bench.running.remove(call)
        self.bench.scheduler.finished(call, self.bench.now)
        self.go_on()

    @precondition(lambda self: self.waits)
    @rule(data=st.data())
    def give_up(self, data: st.DataObject) -> None:
        data.draw(st.sampled_from(self.waits)).ended = True

    @rule(seconds=st.floats(0.01, 1.5))
    def pass_time(self, seconds: float) -> None:
        self.bench.now += seconds
        for call in self.waits:
            if call.deadline is not None and call.deadline <= self.bench.now:
                call.ended = True

    def go_on(self) -> None:
        following = self.bench.scheduler.following(self.bench.now)
        begun = [call for call in following if call.held]
        # As they were when each of them began: what it and those after it hold was free then.
        for call in reversed(begun):
            for resource, amount in call.held:
                resource.taken -= amount
        for call in following:
            startable = self.startable()
            self.waits.remove(call)
            if call.held:
                assert not call.ended
                assert call.queue.fits()
                self.check_order(call, startable)
                for resource, amount in call.held:
                    resource.taken += amount
                self.bench.running.append(call)
            else:
                assert call.ended
            own = (call.queue, call.session)
            if any((other.queue, other.session) == own for other in self.waits):
                self.turns[own] = self.bench.now
            else:
                self.turns.pop(own, None)

    def startable(self) -> list[Call]:
        """What waits, is wanted, has all that it needs free, and needs nothing that a call before
        it may have claimed.
        """
        claimed = {
            resource
            for call in self.waits
            if self.bench.now - call.came > AGING and not call.queue.fits()
            for resource, _ in call.queue.needs
        }
        return [
            call
            for call in self.waits
            if not call.ended
            and call.queue.fits()
            and not claimed & {each for each, _ in call.queue.needs}
        ]

    def check_order(self, begun: Call, startable: list[Call]) -> None:
        own = (begun.queue, begun.session)
        for other in startable:
            if (other.queue, other.session) == own:
                same_age = floor(other.came / AGING) == floor(begun.came / AGING)
            else:  # what is behind others of its own client has its turn after them
                same_age = self.is_first(other) and self.age(other) == self.age(begun)
            assert not (same_age and other.priority > begun.priority), (begun, other)

    def is_first(self, call: Call) -> bool:
        """Whether it is the first of its client's calls in its queue."""

        def place(each: Call) -> tuple[int, float]:
            return floor(
                each.came / AGING
            ) - each.priority, inf if each.deadline is None else each.deadline

        own = (call.queue, call.session)
        line = [each for each in self.waits if (each.queue, each.session) == own]
        return min(line, key=place) is call

    def age(self, call: Call) -> int:
        """The interval since when it ages: that in which it came, or in which its client last had a
        turn before it.
        """
        last = self.turns.get((call.queue, call.session), 0.0)
        return floor(max(call.came, last) / AGING)

    @invariant()
    def nothing_is_over_its_total(self) -> None:
        for resource in self.resources:
            assert 0 <= resource.taken <= resource.total

    @invariant()
    def what_is_taken_is_what_running_calls_hold(self) -> None:
        for resource in self.resources:
            held = sum(
                amount
                for call in self.bench.running
                for each, amount in call.held
                if each is resource
            )
            assert held == resource.taken
        assert all(call.held == () for call in self.waits)

    @invariant()
    def nothing_waits_where_nothing_runs(self) -> None:
        assert self.bench.running or not self.waits

    @invariant()
    def waiting_calls_are_counted(self) -> None:
        assert sum(self.bench.scheduler.waiting().values()) == len(self.waits)

    def teardown(self) -> None:
        """Whatever waits begins, if all that runs ends."""
        for _ in range(len(self.waits) + len(self.bench.running)):
            if self.bench.running:
                self.bench.now += 0.01
                call = self.bench.running.pop(0)
                self.bench.scheduler.finished(call, self.bench.now)
                self.go_on()
        assert self.waits == []
        assert [resource.taken for resource in self.resources] == [0] * len(self.resources)


AnyCourse.TestCase.settings = settings(max_examples=200, stateful_step_count=60, deadline=None)
TestAnyCourse = AnyCourse.TestCase
