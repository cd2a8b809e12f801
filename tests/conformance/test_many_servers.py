"""A client of many servers shares its calls among them, and does without those that are slow, going
or gone.
"""

from __future__ import annotations

import signal
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator

import pytest
from processes import SOON, unserved_endpoint
from promises import promise
from ringback import errors
from ringback.balancing import Policy
from styles import Pause

# Calls that are in flight at once where there is load.
WINDOW = 12


class Load:
    """Calls that go on and on, each with an argument of its own; none may fail.

    `seen` has who answered.
    """

    def __init__(self, client, method: str) -> None:
        self._client, self._method = client, method
        self.seen: set[int] = set()
        self._waiting: deque = deque()
        self._made = 0

    def calls(self, count: int) -> Iterator:
        """So many more; those in flight at the end stay so."""
        for _ in range(count):
            self._made += 1
            self._waiting.append((self._made, self._client.fire(self._method, self._made, 0.003)))
            if len(self._waiting) >= WINDOW:
                yield from self._end_one()

    def until(self, condition: Callable[[], bool]) -> Iterator:
        end = time.monotonic() + SOON
        while not condition():
            assert time.monotonic() < end
            yield from self.calls(5)

    def end(self) -> Iterator:
        while self._waiting:
            yield from self._end_one()

    def _end_one(self) -> Iterator:
        number, future = self._waiting.popleft()
        value, pid = yield future
        assert value == number
        self.seen.add(pid)


def who_answers(client, *pids: int) -> Iterator:
    """Wait until all of these have answered calls."""
    left = set(pids)
    for _ in range(5000):
        left.discard((yield client.call("whoami")))
        if not left:
            return
    raise AssertionError(f"{left} got no call")


def ended(client) -> Iterator:
    """How many calls of two methods have ended at each server."""
    stats = yield client.call_all("ringback.stats")
    methods = [answer.result["methods"] for answer in stats]
    return [each["look_at"]["calls"] + each["change"]["calls"] for each in methods]


def renewed(load, fleet, place):
    """What has ended is started anew under load, until that server has been asked."""
    renewing = threading.Thread(target=fleet.renew)
    renewing.start()
    yield from load.until(lambda: not renewing.is_alive())
    yield from load.until(lambda: fleet.pids[place] in load.seen)


@pytest.mark.parametrize("policy", ["peak-ewma", "two-choices", "least-in-flight", "round-robin"])
@promise
def test_calls_are_spread_over_the_servers(client, pair, fleet, policy):
    many = pair.connect(*fleet.endpoints, policy=policy)
    yield from who_answers(many, *fleet.pids)


@promise
def test_servers_that_take_turns_are_asked_equally_often(client, pair, fleet):
    many = pair.connect(*fleet.endpoints, policy="round-robin")
    yield many.call_all("asked")
    shares: list[list[int]] = []
    # (Again where a machine stood still: a server that does not answer meanwhile is passed over for
    # a moment.)
    while len(shares) < 3 and not (shares and all(8 <= share <= 12 for share in shares[-1])):
        answers = yield many.call_all("asked")
        before = Counter({answer.endpoint: answer.result for answer in answers})
        for _ in range(30):
            yield many.call("whoami")
        answers = yield many.call_all("asked")
        after = Counter({answer.endpoint: answer.result for answer in answers})
        # (a connection that is a moment older may have a little more)
        assert sum((after - before).values()) == 30
        shares.append([after[endpoint] - before[endpoint] for endpoint in fleet.endpoints])
    assert all(8 <= share <= 12 for share in shares[-1]), shares


@promise
def test_a_policy_of_ones_own_chooses(client, pair, fleet):
    class Third(Policy):
        def choose(self, among, now):
            return next((each for each in among if each.endpoint == fleet.endpoints[2]), among[0])

    many = pair.connect(*fleet.endpoints, policy=Third())
    yield many.call_all("whoami")
    found = set()
    for _ in range(10):
        found.add((yield many.call("whoami")))
    assert found == {fleet.pids[2]}


@promise
def test_call_all_asks_each_server_once(client, pair, fleet):
    many = pair.connect(*fleet.endpoints)
    answers = yield many.call_all("whoami")
    assert [answer.endpoint for answer in answers] == fleet.endpoints
    assert [answer.result for answer in answers] == fleet.pids
    assert [answer.error for answer in answers] == [None] * 3


@promise
def test_call_all_of_one_server_is_one_answer(client, pair, fleet):
    one = pair.connect(fleet.endpoints[0])
    [answer] = yield one.call_all("whoami")
    assert answer == (fleet.endpoints[0], fleet.pids[0], None)


@pytest.fixture
def unserved():
    with unserved_endpoint() as endpoint:
        yield endpoint


@promise
def test_call_all_tells_the_error_of_a_server_that_is_not_there(client, pair, fleet, unserved):
    many = pair.connect(fleet.endpoints[0], unserved, timeout=10.0)
    here, gone = yield many.call_all("whoami")
    assert (here.result, here.error) == (fleet.pids[0], None)
    assert (gone.endpoint, gone.result, type(gone.error)) == (unserved, None, errors.Unavailable)
    assert gone.error.started is False


@promise
def test_call_all_gives_each_servers_own_error(client, pair, fleet):
    many = pair.connect(*fleet.endpoints)
    answers = yield many.call_all("no_such_method")
    assert [type(answer.error) for answer in answers] == [errors.MethodNotFound] * 3


@promise
def test_calls_with_the_same_key_go_to_one_server_from_every_client(client, pair, fleet):
    found = set()
    for _ in range(2):
        many = pair.connect(*fleet.endpoints)
        yield many.call_all("whoami")
        view = many.options(affinity="ada")
        for _ in range(5):
            found.add((yield view.call("whoami")))
    assert len(found) == 1


@promise
def test_a_read_that_takes_its_time_is_answered_by_another_server(client, pair, fleet):
    many = pair.connect(*fleet.endpoints, timeout=15.0)
    yield many.call_all("whoami")
    view = many.options(hedge=True, affinity="ada")
    home = yield view.call("whoami")
    futures = [
        view.fire("unless", home, 0.1) for _ in range(20)
    ]  # so that it is known what they take
    for future in futures:  # noqa: UP028 - what is sent back to each is not for the list
        yield future
    assert (yield view.call("unless", home, 60.0)) in set(fleet.pids) - {home}


@promise
def test_a_server_that_is_killed_and_started_anew_costs_no_call_that_only_reads(
    client, pair, fleet
):
    many = pair.connect(*fleet.endpoints)
    yield from who_answers(many, *fleet.pids)
    load = Load(many, "look_at")
    yield from load.calls(50)
    fleet.servers[0].send_signal(signal.SIGKILL)
    yield from load.calls(50)
    fleet.servers[0].wait()
    yield from renewed(load, fleet, 0)
    yield from load.end()


@promise
def test_a_map_whose_server_is_killed_goes_elsewhere_where_its_method_may(client, pair, fleet):
    """Calls that only read are all answered.

    Of others, those that have ended keep their results; whether the rest ran, nobody knows.
    """
    many = pair.connect(*fleet.endpoints, policy="round-robin", timeout=15.0)
    before = yield from ended(many)
    numbers, seconds = range(30), [0.0, 1.0] * 15
    reads = many.fire_map("look_at", numbers, seconds, chunksize=10)
    changes = many.fire_map("change", numbers, seconds, chunksize=10)
    end = time.monotonic() + SOON
    while (yield from ended(many)) != [calls + 10 for calls in before]:
        assert time.monotonic() < end
    yield Pause(0.2)  # results go out every 20 ms
    killed = fleet.pids[0]
    fleet.servers[0].send_signal(signal.SIGKILL)
    read = yield reads
    assert [value for value, _ in read] == list(numbers)
    assert killed not in {pid for _, pid in read[1::2]}
    changed = yield changes
    lost = [
        number for number, outcome in enumerate(changed) if isinstance(outcome, errors.CallError)
    ]
    assert len(lost) == 5
    assert all(number % 2 for number in lost)
    assert {type(changed[number]) for number in lost} == {errors.Unavailable}
    assert {changed[number].started for number in lost} == {None}
    kept = [changed[number] for number in numbers if number not in lost]
    assert [value for value, _ in kept] == [number for number in numbers if number not in lost]
    assert Counter(pid for _, pid in kept) == {
        pid: 5 if pid == killed else 10 for pid in fleet.pids
    }


@promise
def test_servers_of_a_registry_come_and_go_and_no_call_is_lost(client, pair, fleet):
    many = pair.connect(fleet.place)
    load = Load(many, "change")
    yield from load.until(lambda: load.seen == set(fleet.pids))
    going = fleet.servers[1]
    going.send_signal(signal.SIGTERM)
    yield from load.until(lambda: going.process.poll() is not None)
    assert going.wait() == 0
    yield from renewed(load, fleet, 1)
    yield from load.end()


@promise
def test_a_client_has_seen_no_versions_where_no_server_has_any(client, pair, fleet):
    many = pair.connect(*fleet.endpoints)
    assert many.versions == {}
    yield many.options(session=True).call("whoami")
    assert many.versions == {}


@promise
def test_a_session_begins_with_what_another_client_has_seen(client, pair, fleet):
    view = pair.connect(*fleet.endpoints).options(session={"notes": 7})
    yield view.call("whoami")
    assert view.versions == {"notes": 7}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"policy": "nearest"}, "policy must be one of round-robin"),
        ({"policy": ["round-robin"]}, "policy must be one of"),
        ({"zone": 7}, "zone must be a string"),
        ({"ejection": "never"}, "ejection must be True, False"),
    ],
)
@promise
def test_what_cannot_be_is_refused_by_connect(client, pair, options, says):
    with pytest.raises(errors.UsageError, match=says):
        pair.connect("tcp://127.0.0.1:5555", **options)
    yield None


@pytest.mark.parametrize(
    "options",
    [
        {"affinity": 7},
        {"hedge": "yes"},
        {"session": "all"},
        {"session": {"notes": -1}},
        {"session": {1: 1}},
    ],
)
@promise
def test_what_cannot_be_is_refused_by_options(client, options):
    [name] = options
    with pytest.raises(TypeError, match=f"bad value for option '{name}'"):
        client.options(**options)
    yield None
