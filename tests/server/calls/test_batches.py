"""Calls of a worker method that come in one message share a worker as long as they are short.

Each is a call of its own all the same.
"""

from __future__ import annotations

import signal
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import zmq
from msgspec import Raw
from processes import eventually
from raw import Dealer, args
from ringback.protocol.messages import Bye, Call, Cancel, Error, Fault, Item, Refusal, Reply
from ringback.protocol.values import Unpacker
from ringback.server.scheduling.pace import AGAIN, RARELY, Pace

SERVICE = Path(__file__).with_name("batched.py")
plain = Unpacker().plain


@pytest.fixture
def serve(start_server, backend):
    def start(*options: str):
        return start_server(backend, "service", *options, path=SERVICE)

    return start


@pytest.fixture
def server(serve):
    return serve()


class Caller:
    """A client that says by itself what goes into one message, and numbers its calls."""

    def __init__(self, dealer: Dealer) -> None:
        self.dealer = dealer
        self.last = 0
        self.ended: dict[int, Any] = {}  # results, or code and text of failures

    def calls(self, method: str, *rows: tuple[Any, ...], timeout: int | None = None) -> list[Call]:
        first = self.last + 1
        self.last += len(rows)
        return [
            Call(number, method, args(*row), None, timeout)
            for number, row in enumerate(rows, first)
        ]

    def fire(self, *calls: Call) -> list[int]:
        """In one message. Returns their numbers."""
        self.dealer.say(*calls)
        return [call.id for call in calls]

    def outcomes(self, numbers: Iterable[int]) -> list[Any]:
        """Of calls with these numbers, when all have ended."""
        wanted = list(numbers)
        while not self.ended.keys() >= set(wanted):
            heard = self.dealer.hear()
            assert heard, self.ended
            for message in heard:
                if type(message) in (Reply, Error, Refusal):
                    assert message.id not in self.ended
                    failed = type(message) is not Reply
                    self.ended[message.id] = (
                        (message.code, message.message) if failed else message.result
                    )
        return [plain(one) if isinstance(one, Raw) else one for one in map(self.ended.get, wanted)]

    def ask(self, method: str, *values: Any) -> Any:
        (outcome,) = self.outcomes(self.fire(*self.calls(method, values)))
        return outcome

    @property
    def in_flight(self) -> int:
        return self.ask("ringback.stats")["in_flight"]


@pytest.fixture
def caller(server):
    with Dealer(server.endpoint) as dealer:
        yield Caller(dealer)


@pytest.fixture
def one_worker(serve):
    """A caller whose calls wait until it opens gate "a"."""
    with Dealer(serve("--workers", "1").endpoint) as dealer:
        caller = Caller(dealer)
        held = caller.fire(*caller.calls("holds", ("a",)))
        eventually(lambda: caller.ask("ringback.stats")["methods"]["holds"]["in_flight"] == 1)
        yield caller
        caller.ask("opens", "a")
        caller.outcomes(held)
        eventually(lambda: caller.in_flight == 0)


def numbered(count: int, first: int = 0) -> list[tuple[int]]:
    return [(n,) for n in range(first, first + count)]


def test_short_calls_share_a_worker(caller):
    assert len(set(caller.outcomes(caller.fire(*caller.calls("where", *numbered(30)))))) == 1


def test_calls_that_wait_run_beside_each_other(caller):
    """The first waits for the last, in one message: a worker that does not get on gives up the
    rest.
    """
    for turn in range(3):  # the third time, each goes to a worker by itself
        calls = caller.calls("meet", *[(f"turn {turn}", n) for n in range(20)])
        assert caller.outcomes(caller.fire(*calls)) == list(range(20))
        assert sorted(caller.ask("ran")) == sorted([*range(20)] * (turn + 1))


def test_what_has_ended_is_answered_while_the_next_call_waits(caller):
    numbers = caller.fire(*caller.calls("seventh_waits", *[("a", n) for n in range(20)]))
    others = [n for n in range(20) if n != 7]
    assert caller.outcomes(numbers[n] for n in others) == others
    assert caller.in_flight == 1
    caller.ask("opens", "a")
    assert caller.outcomes(numbers[7:8]) == [7]
    assert caller.in_flight == 0


def test_the_time_of_what_is_answered_while_the_next_call_waits_is_noted(caller):
    for turn in ("a", "b"):
        other = caller.calls("rests", (0.0005,))  # which ends before the loop has looked twice
        numbers = caller.fire(
            *other, *caller.calls("seventh_waits", *[(turn, n) for n in range(8)])
        )
        caller.outcomes(numbers[:8])
        times = sum(caller.ask("ringback.stats")["methods"]["seventh_waits"]["times"])
        assert times >= 1
        caller.ask("opens", turn)
        caller.outcomes(numbers)


def test_a_future_that_raises_ends_its_call_alone(caller):
    for _ in range(6):  # more often than there are places for batches
        numbers = caller.fire(*caller.calls("bad_future", *numbered(3)))
        assert caller.outcomes(numbers) == [0, ("UNKNOWN", "no callbacks"), 2]
    assert caller.outcomes(caller.fire(*caller.calls("note", *numbered(2)))) == [0, 1]
    assert caller.in_flight == 0


def test_what_a_call_leaves_behind_reaches_no_other(caller, backend):
    if backend != "gevent":
        pytest.skip("greenlets are what it would be thrown into")
    numbers = caller.fire(*caller.calls("leaves_timeout", *numbered(3)))
    assert caller.outcomes(numbers) == ["left", "fine", "fine"]


def test_interceptors_see_each_call(start_server, backend):
    with Dealer(start_server(backend, "watched", path=SERVICE).endpoint) as dealer:
        caller = Caller(dealer)
        assert caller.outcomes(caller.fire(*caller.calls("passes", *numbered(10)))) == list(
            range(10)
        )
        assert caller.ask("intercepted") == 10


def test_each_call_ends_as_it_would_alone(caller):
    together = caller.outcomes(caller.fire(*caller.calls("odd", *numbered(24))))
    assert [together[n] for n in (0, 3, 4)] == [0, 3, "x" * 100_000]
    assert {together[n][0] for n in (1, 2, 5)} == {"UNKNOWN"}
    assert [caller.ask("odd", n) for n in range(6)] == together[:6]


def test_what_a_call_sets_no_other_sees(caller):
    assert set(caller.outcomes(caller.fire(*caller.calls("sets", *numbered(20))))) == {"nothing"}


def test_a_handler_is_told_of_its_own_call(caller):
    short, long = (caller.calls("told", (1,), (2,), timeout=timeout) for timeout in (5000, 60_000))
    told = caller.outcomes(caller.fire(*short, *long))
    assert [call[:2] for call in told] == [["told", {}]] * 4
    assert all(0 < left <= 5 for *_, left in told[:2])
    assert all(5 < left <= 60 for *_, left in told[2:])


def test_what_goes_on_behind_a_call_may_ask_for_it(caller):
    assert caller.outcomes(caller.fire(*caller.calls("goes_on", *numbered(3)))) == [None] * 3
    caller.ask("opens", "over")
    eventually(lambda: caller.ask("late") == [["goes_on", True, n] for n in range(3)])


def test_calls_of_a_method_begin_in_the_order_in_which_they_came(one_worker):
    numbers = []
    for first, count in ((0, 10), (10, 1), (11, 20), (31, 2)):
        numbers += one_worker.fire(*one_worker.calls("note", *numbered(count, first)))
    one_worker.ask("opens", "a")
    one_worker.outcomes(numbers)
    assert one_worker.ask("ran") == list(range(33))


@pytest.mark.parametrize(("method", "timeout"), [("note", 200), ("brief", None)])
def test_calls_whose_time_is_over_before_they_begin_do_not_run(one_worker, method, timeout):
    """`brief` has a timeout of its own."""
    numbers = one_worker.fire(*one_worker.calls(method, *numbered(10), timeout=timeout))
    assert {code for code, _ in one_worker.outcomes(numbers)} == {"DEADLINE_EXCEEDED"}
    one_worker.ask("opens", "a")
    assert one_worker.outcomes(one_worker.fire(*one_worker.calls(method, *numbered(2, 20)))) == [
        20,
        21,
    ]
    assert one_worker.ask("ran") == [20, 21]


def test_a_batch_of_which_no_call_comes_back_ends_in_time(caller):
    for _ in range(4):
        numbers = caller.fire(*caller.calls("holds", *[("never",)] * 10, timeout=300))
        assert [code for code, _ in caller.outcomes(numbers)] == ["DEADLINE_EXCEEDED"] * 10
    caller.ask("opens", "never")
    eventually(lambda: caller.in_flight == 0)


def test_a_call_that_is_given_up_before_it_begins_does_not_run(one_worker):
    some = one_worker.fire(*one_worker.calls("note", *numbered(10)))
    all_of_them = one_worker.fire(*one_worker.calls("note", *numbered(10, 10)))
    one_worker.dealer.say(Cancel(some[3]), Cancel(some[9]), *map(Cancel, all_of_them))
    one_worker.ask("opens", "a")
    kept = [n for n in range(10) if n not in (3, 9)]
    assert one_worker.outcomes(some[n] for n in kept) == kept
    eventually(lambda: one_worker.in_flight == 0)
    assert one_worker.ask("ran") == kept


def test_calls_that_are_given_up_make_room(one_worker):
    for _ in range(10):
        numbers = one_worker.fire(*one_worker.calls("note", *numbered(30)))
        one_worker.dealer.say(*map(Cancel, numbers[1:]))
    assert one_worker.in_flight == 1 + 10


def test_to_give_up_a_call_that_runs_stops_no_other(caller, backend):
    numbers = caller.fire(*caller.calls("waits", *[("a", n) for n in range(10)]))
    eventually(lambda: 0 in caller.ask("ran"))
    caller.dealer.say(Cancel(numbers[0]))
    assert caller.outcomes(numbers[1:]) == list(range(1, 10))
    if backend == "gevent":  # where it can be stopped
        eventually(lambda: caller.ask("stopped") == ["0 GreenletExit"])
    caller.ask("opens", "a")
    eventually(lambda: caller.in_flight == 0)


def test_calls_of_a_client_that_has_gone_do_not_begin(one_worker, serve):
    with Dealer(one_worker.dealer.socket.get(zmq.LAST_ENDPOINT).decode()) as dealer:
        gone = Caller(dealer)
        gone.fire(*gone.calls("note", *numbered(100)))
        eventually(lambda: one_worker.in_flight == 101)
    eventually(lambda: one_worker.ask("ringback.stats")["clients"] == 1)
    one_worker.ask("opens", "a")
    eventually(lambda: one_worker.in_flight == 0)
    assert one_worker.ask("ran") == []


def test_a_limit_bounds_what_runs_at_once(start_server, backend):
    path = SERVICE.with_name("mapped.py")
    with Dealer(
        start_server(backend, "service", "--state", "memory://", path=path).endpoint
    ) as dealer:
        caller = Caller(dealer)
        caller.outcomes(caller.fire(*caller.calls("limited", *[(0.02,)] * 20)))
        assert caller.ask("most") == 2


@pytest.mark.parametrize("option", [("--max-in-flight", "20"), ("--max-bytes-in-flight", "100000")])
def test_each_call_counts_for_the_bounds(serve, option):
    server = serve("--workers", "1", *option)
    with Dealer(server.endpoint) as dealer:
        caller = Caller(dealer)
        held = caller.fire(*caller.calls("holds", ("a",)))
        numbers = caller.fire(*caller.calls("says", *[("x" * 1900,)] * 120))
        caller.ask("opens", "a")
        outcomes = caller.outcomes(numbers)
        taken = outcomes.index(next(each for each in outcomes if type(each) is tuple))
        assert taken == outcomes.count(1900)
        assert {code for code, _ in outcomes[taken:]} == {"RESOURCE_EXHAUSTED"}
        # As many as of calls that come one in each message.
        held = caller.fire(*caller.calls("holds", ("b",)))
        singly = [
            number
            for _ in range(120)
            for number in caller.fire(*caller.calls("says", ("x" * 1900,)))
        ]
        caller.ask("opens", "b")
        assert caller.outcomes(singly).count(1900) == taken
        caller.outcomes(held)
        eventually(lambda: caller.in_flight == 0)


def test_what_waits_is_counted_by_calls(one_worker):
    numbers = one_worker.fire(*one_worker.calls("note", *numbered(30)))
    stats = one_worker.ask("ringback.stats")
    assert stats["methods"]["note"]["in_flight"] == 30
    assert stats["in_flight"] == 31
    one_worker.ask("opens", "a")
    one_worker.outcomes(numbers)
    stats = one_worker.ask("ringback.stats")
    assert stats["methods"]["note"]["calls"] == 30
    assert stats["methods"]["note"]["errors"] == 0


def test_they_are_answered_before_the_server_ends(serve):
    server = serve("--workers", "1", "--drain-timeout", "20")
    with Dealer(server.endpoint) as dealer:
        caller = Caller(dealer)
        numbers = caller.fire(*caller.calls("rests", *[(0.02,)] * 30))
        eventually(lambda: caller.in_flight > 0)
        server.process.send_signal(signal.SIGTERM)
        assert caller.outcomes(numbers) == [0.02] * 30
        dealer.say(Bye())
        assert server.wait() == 0


def test_a_child_that_a_call_forks_ends_and_no_other_does(caller):
    assert caller.outcomes(caller.fire(*caller.calls("forks", *numbered(10)))) == list(range(10))
    assert caller.outcomes(caller.fire(*caller.calls("note", *numbered(2)))) == [0, 1]


def test_an_item_for_one_is_a_fault(caller):
    first, _ = caller.fire(*caller.calls("holds", ("a",), ("a",)))
    caller.dealer.say(Item(first, args(1)))
    heard: list[Any] = []
    while not heard or type(heard[-1]) is not Fault:
        some = caller.dealer.hear()
        assert some
        heard += some


# Whether calls are short


def test_long_calls_go_by_themselves_for_a_while_and_then_for_longer():
    pace, now = Pace(), 100.0
    seconds = []
    for _ in range(9):
        assert pace.until <= now
        pace.ran(32, 32, now, stuck=False)
        seconds.append(pace.until - now)
        now = pace.until
    assert seconds == [AGAIN, 2.0, 4.0, 8.0, 16.0, 32.0, RARELY, RARELY, RARELY]
    pace.ran(32, 0, now, stuck=False)
    assert pace.until <= now
    pace.ran(32, 32, now, stuck=False)
    assert pace.until == now + AGAIN


@pytest.mark.parametrize(("calls", "long"), [(1, 1), (2, 1), (4, 2), (32, 9)])
def test_a_few_long_calls_are_chance(calls, long):
    pace = Pace()
    for _ in range(10):
        pace.ran(calls, long, 1.0, stuck=False)
    assert pace.until <= 1.0
    pace.ran(calls, long + 2, 1.0, stuck=False)
    assert pace.until > 1.0


def test_to_be_stuck_once_is_chance():
    pace, now = Pace(), 100.0
    for _ in range(10):
        now += 1.0
        for _ in range(3):  # one stop of the machine stops several
            pace.ran(1, 1, now, stuck=True)
        pace.ran(32, 1, now, stuck=False)
    assert pace.until <= now
    pace.ran(1, 1, now + 1.0, stuck=True)
    pace.ran(1, 1, now + 1.01, stuck=True)
    assert pace.until == now + 1.01 + AGAIN


def test_batches_that_were_made_before_a_pause_do_not_lengthen_it():
    pace = Pace()
    for _ in range(10):
        pace.ran(32, 32, 100.0, stuck=False)
    assert pace.until == 100.0 + AGAIN
