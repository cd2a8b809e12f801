"""What runs when, seen through real servers: priorities, resources, limits, and what is told of
them.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import ringback
from processes import SOON, eventually
from ringback import errors

SERVICE = Path(__file__).with_name("scheduled.py")


@pytest.fixture
def scheduled(start_server, backend, connected):
    """`scheduled(*options)`: a client of a server with those options."""

    def start(*options: str):
        return connected(start_server(backend, "service", *options, path=SERVICE).endpoint)

    return start


def fired(client, method: str, seconds: float, many: int) -> None:
    for future in [client.fire(method, seconds) for _ in range(many)]:
        future.result(SOON)


def test_calls_with_a_higher_priority_begin_first(scheduled):
    client = scheduled("--workers", "1")
    futures = [client.fire("work", 0.3, 0)]
    eventually(lambda: client.call("began") == [0])
    for number, (method, priority) in enumerate(
        [("work", 0), ("work", -1), ("work", 2), ("urgent", 0), ("urgent", 1), ("work", 2)], start=1
    ):
        futures.append(client.options(priority=priority).fire(method, 0.0, number))
    assert [future.result(SOON) for future in futures] == [0, 1, 2, 3, 4, 5, 6]
    assert client.call("began") == [0, 5, 4, 3, 6, 1, 2]


def test_a_caller_gets_no_higher_priority_than_the_server_allows(scheduled):
    client = scheduled("--workers", "1", "--max-priority", "3")
    futures = [client.fire("work", 0.3, 0)]
    eventually(lambda: client.call("began") == [0])
    futures += [
        client.options(priority=priority).fire("work", 0.0, priority) for priority in (3, 1000, 4)
    ]
    futures.append(client.fire("urgent", 0.0, 5))
    for future in futures:
        future.result(SOON)
    assert client.call("began") == [0, 5, 3, 1000, 4]


def test_of_calls_with_one_priority_the_earliest_deadline_begins_first(scheduled):
    client = scheduled("--workers", "1")
    futures = [client.fire("work", 0.3, 0)]
    eventually(lambda: client.call("began") == [0])
    for seconds in (20, 10, 15):
        futures.append(client.options(timeout=seconds).fire("work", 0.0, seconds))
    for future in futures:
        future.result(SOON)
    assert client.call("began") == [0, 10, 15, 20]


def test_resources_bound_what_runs_at_once(scheduled):
    client = scheduled("--resource", "db=4", "--resource", "gpu=1")
    futures = [client.fire(*call) for call in [("one", 0.02), ("half", 0.02), ("four", 0.02)] * 10]
    for future in futures:
        future.result(SOON)
    assert [client.call("most", name) for name in ("db", "gpu", "db by four")] == [4, 2, 1]


def test_a_call_that_waits_for_a_resource_holds_up_none_that_does_not_need_it(scheduled):
    client = scheduled("--resource", "db=4", "--resource", "gpu=1")
    held = [client.fire("one", 1.0) for _ in range(3)]
    blocked = client.fire("four", 0.0)
    client.call("half", 0.0)
    client.call("work", 0.0)
    client.call("one", 0.0)
    assert not blocked.done()
    for future in [*held, blocked]:
        future.result(SOON)


@pytest.mark.parametrize(
    ("method", "why"),
    [
        ("too_much", "needs 5 of 'db', of which this server has 4"),
        ("half", "'gpu', which this server has not"),
    ],
)
def test_a_call_that_can_never_run_is_refused_at_once(scheduled, method, why):
    client = scheduled("--resource", "db=4")
    with pytest.raises(errors.FailedPrecondition, match=why):
        client.call(method, *[0.0] * (method == "half"))


@pytest.mark.parametrize("method", ["two_defs", "two_coroutines"])
def test_the_limit_of_a_method_bounds_what_runs_at_once(scheduled, method):
    client = scheduled()
    fired(client, method, 0.02, 10)
    assert client.call("most", method) == 2


def test_the_limit_of_a_method_bounds_its_open_streams(scheduled):
    client = scheduled()
    streams = [client.stream("two_streams", 1_000) for _ in range(3)]
    first = [next(streams[0]), next(streams[1])]
    waiting = client.options(timeout=0.3).stream("two_streams", 1)
    with pytest.raises(errors.DeadlineExceeded):
        next(waiting)
    streams[0].close()
    assert [*first, next(streams[2])] == [0, 0, 0]
    assert client.call("most", "two_streams") == 2


def test_the_limit_of_a_server_bounds_all_but_inline_methods(scheduled):
    client = scheduled("--limit", "3", "--resource", "db=4")
    held = [client.fire(method, 0.3) for method in ("work", "one", "two_coroutines", "two_defs")]
    eventually(lambda: client.call("ringback.stats")["limits"]["(all)"]["taken"] == 3)
    assert client.call("ringback.stats")["waiting"] == {0: 1}
    for future in held:
        future.result(SOON)


@pytest.mark.parametrize("method", ["work", "learned"])
def test_where_the_limit_is_learned_what_would_end_too_late_is_refused_unstarted(scheduled, method):
    client = scheduled("--workers", "2", *["--limit", "adaptive"] * (method == "work"))
    fired(client, method, 0.1, 4)
    futures = [client.options(timeout=1.0).fire(method, 0.1) for _ in range(200)]
    errors_of = [future.exception(SOON) for future in futures]
    assert errors_of[0] is None
    refused = [error for error in errors_of if isinstance(error, errors.ResourceExhausted)]
    assert len(refused) >= 150
    assert "would not end in time" in str(refused[0])
    client.call(method, 0.1)  # and it goes on
    looked = client.call("ringback.stats")
    assert looked["methods"][method]["refused"] == len(refused)
    assert looked["limits"][method if method == "learned" else "(all)"]["learned"]


def test_where_a_server_says_so_all_plain_functions_run_in_native_threads(scheduled):
    client = scheduled("--executor", "thread")
    native = client.fire("block", 1.0)  # on gevent it would hold up the hub
    eventually(lambda: client.call("most", "block") == 1)
    client.call("most", "block")
    assert not native.done()
    native.result(SOON)


def test_what_is_free_again_is_told(scheduled):
    client = scheduled("--resource", "db=4", "--limit", "10")
    fired(client, "one", 0.0, 20)
    cancelled = client.fire("four", 5.0)
    eventually(lambda: client.call("ringback.stats")["resources"]["db"]["taken"] == 4)
    cancelled.cancel()
    eventually(lambda: client.call("ringback.stats")["resources"]["db"]["taken"] == 0)
    looked = client.call("ringback.stats")
    assert looked["workers"]["workers"]["taken"] == 0
    assert looked["limits"]["(all)"] == {"taken": 0, "limit": 10, "learned": False}
    assert looked["in_flight"] == 0
    assert looked["methods"]["one"] | {"times": []} == {
        "calls": 20,
        "in_flight": 0,
        "errors": 0,
        "refused": 0,
        "times": [],
    }
    assert (
        1 <= sum(looked["methods"]["one"]["times"]) <= 20
    )  # one in each turn of the loop is timed


def test_a_description_tells_how_methods_are_scheduled(scheduled):
    methods = {each["name"]: each for each in scheduled("--resource", "db=4").describe()["methods"]}
    assert methods["urgent"]["priority"] == 5
    assert methods["two_defs"]["limit"] == 2
    assert methods["learned"]["limit"] == "adaptive"
    assert methods["four"]["resources"] == {"db": 4}


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"priority": 1.5}, "priority must be an integer"),
        ({"limit": 0}, "limit must be a number of calls from 1 on or 'adaptive'"),
        ({"limit": "many"}, "limit must be a number of calls from 1 on or 'adaptive'"),
        ({"resources": {"db": 0}}, "bad resource 'db': 0"),
        ({"resources": ["db"]}, "resources must be amounts by name"),
        ({"inline": True, "limit": 1}, "an inline method never waits"),
        ({"inline": True, "priority": 1}, "an inline method never waits"),
        ({"inline": True, "resources": {"db": 1}}, "an inline method never waits"),
    ],
)
def test_bad_options_of_a_method_are_refused_when_it_is_made(options, why):
    with pytest.raises(errors.UsageError, match=why):
        ringback.Service("bad").method(**options)(lambda: None)


def test_a_stream_takes_no_learned_limit():
    def numbers():
        yield 1

    with pytest.raises(errors.UsageError, match="limit='adaptive' cannot measure a stream"):
        ringback.Service("bad").method(limit="adaptive")(numbers)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"resources": {"db": -1}}, "the server: bad resource 'db': -1"),
        ({"limit": 0}, "the server: limit must be a number of calls"),
        ({"aging": 0.0}, "aging must be a number of seconds, above 0"),
    ],
)
def test_bad_options_of_a_server_are_refused_when_it_is_made(options, why):
    with pytest.raises(errors.UsageError, match=why):
        ringback.Server(ringback.Service("bad"), "tcp://127.0.0.1:*", **options)
