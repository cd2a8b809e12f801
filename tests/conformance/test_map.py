"""Many calls of one method: `map`, `fire_map`, and methods that are prepared."""

from __future__ import annotations

import itertools
from contextlib import aclosing, closing
from typing import Any

import pytest
from promises import Pair, eventually, promise, until
from ringback import errors
from styles import Items, Pause, Script


def mapped(pair: Pair, made: Any, limit: int | None = None, seen: list[Any] | None = None) -> Any:
    """The step that reads what `map` has returned."""
    if pair.style.name == "twisted":
        return made
    return Items(closing(made) if pair.style.blocking else aclosing(made), limit, seen)


@promise
def test_a_map_has_the_results_in_order(client, pair: Pair) -> Script:
    for method in ("add", "add_inline"):
        for chunksize in (1, 7, 1000):
            made = client.map(method, range(100), range(100, 200), chunksize=chunksize)
            assert (yield mapped(pair, made)) == [100 + 2 * n for n in range(100)]
    assert (yield mapped(pair, client.map("echo_async", range(3000)))) == list(range(3000))
    assert (yield mapped(pair, client.map("echo", [], chunksize=5))) == []
    assert (yield mapped(pair, client.map("add", [1, 2, 3], [4, 5]))) == [
        5,
        7,
    ]  # as zip: the shortest counts


@promise
def test_fire_map_has_the_errors_in_their_places(client) -> Script:
    got: list[Any] = []
    future = client.fire_map("add", [1, "x", 3, object(), 5], [1] * 5, callback=got.append)
    outcomes = yield future
    assert [type(outcome) for outcome in outcomes] == [
        int,
        errors.InvalidArgument,
        int,
        errors.InvalidArgument,
        int,
    ]
    assert [outcomes[0], outcomes[2], outcomes[4]] == [2, 4, 6]
    assert "argument 'a'" in str(outcomes[1])
    yield from until(lambda: bool(got))
    yield Pause(0.02)
    assert len(got) == 1
    assert got[0] is outcomes or got[0] == outcomes
    assert (yield client.fire_map("echo", [])) == []
    for outcome in (yield client.fire_map("fail", ["a", "b"])):
        assert isinstance(outcome, errors.RemoteError)
        assert outcome.type == "LookupError"
    for outcome in (yield client.fire_map("no_such_method", [1, 2])):
        assert isinstance(outcome, errors.MethodNotFound)
    for outcome in (yield client.fire_map("count", [1, 2])):  # a stream
        assert isinstance(outcome, errors.FailedPrecondition)


@promise
def test_an_error_ends_a_map_in_its_place(client, pair: Pair) -> Script:
    seen: list[int] = []
    with pytest.raises(errors.InvalidArgument):
        yield mapped(
            pair, client.map("add_inline", [1, 2, "x", 4], [1] * 4, chunksize=2), seen=seen
        )
    if pair.style.name != "twisted":
        assert seen == [2, 3]


@promise
def test_a_stream_is_no_argument_of_one_of_many_calls(client) -> Script:
    for outcome in (yield client.fire_map("echo", [iter([1, 2]), (n for n in range(3))])):
        assert isinstance(outcome, errors.InvalidArgument)
        assert "a map takes no stream as an argument" in str(outcome)


@promise
def test_a_map_that_is_left_cancels_the_rest(client, pair: Pair, key) -> Script:
    if pair.style.name == "twisted":
        future = client.map("hold", itertools.repeat(key, 3))
        yield from eventually(lambda: client.call("marks", key), ["began"] * 3)
        future.cancel()
        with pytest.raises(pair.style.cancelled):
            yield future
    else:
        future = client.fire_map("hold", itertools.repeat(key, 3))
        yield from eventually(lambda: client.call("marks", key), ["began"] * 3)
        future.cancel()
        read = mapped(pair, client.map("echo_async", itertools.count()), limit=5)  # without an end
        assert (yield read) == [0, 1, 2, 3, 4]
    yield from eventually(lambda: client.call("marks", key), ["began"] * 3 + ["cancelled"] * 3)


@promise
def test_each_call_of_a_map_has_one_deadline_and_those_that_kept_it_their_results(client) -> Script:
    outcomes = yield client.options(timeout=0.4).fire_map("nap", [0.0, 10.0, 0.01])
    assert [outcomes[0], outcomes[2]] == [0.0, 0.01]
    assert isinstance(outcomes[1], errors.DeadlineExceeded)


@promise
def test_a_map_may_hold_what_is_large(client, pair: Pair) -> Script:
    sizes = [0, 100, 70_000, 300_000, 5, 1_000_000]
    blobs = yield mapped(pair, client.map("blob", sizes))
    assert [len(blob) for blob in blobs] == sizes
    assert (yield mapped(pair, client.map("echo", blobs))) == blobs
    words = ["x" * n for n in range(1000)]
    assert (yield mapped(pair, client.map("echo", words))) == words


@promise
def test_a_map_of_a_closed_client_goes_to_its_errback(client, pair: Pair, key) -> Script:
    other = pair.connect()
    got: list[BaseException] = []
    future = other.fire_map("hold", [key] * 3, errback=got.append)
    yield from eventually(lambda: client.call("marks", key), ["began"] * 3)
    yield other.close(now=True)
    with pytest.raises(errors.Cancelled):
        yield future
    yield from until(lambda: bool(got))
    assert len(got) == 1


@promise
def test_a_client_of_few_calls_maps_many(client, pair: Pair) -> Script:
    few = pair.connect(max_in_flight=10)
    assert (yield mapped(pair, few.map("echo", range(200)))) == list(range(200))
    assert (yield few.fire_map("echo_async", range(200))) == list(range(200))


@promise
def test_a_clients_interceptors_see_each_call_of_a_map(client, pair: Pair) -> Script:
    seen: list[Any] = []

    def intercept(call: Any) -> Any:
        seen.append(call.args)
        return (yield)

    intercepted = pair.connect(interceptors=[intercept])
    assert (yield intercepted.fire_map("add", [1, 2], [3, 4])) == [4, 6]
    assert seen == [(1, 3), (2, 4)]


@promise
def test_results_of_a_map_are_made_what_their_caller_says(client) -> Script:
    view = client.options(returns=int)
    outcomes = yield view.fire_map("echo", [1, "x", 3])
    assert [outcomes[0], outcomes[2]] == [1, 3]
    assert isinstance(outcomes[1], errors.InvalidArgument)


@promise
def test_a_map_needs_iterables_and_a_chunksize(client) -> Script:
    for make in (client.map, client.fire_map):
        with pytest.raises(TypeError):
            make("add")
        with pytest.raises(TypeError):
            make("add", 1)
        with pytest.raises(ValueError, match="chunksize"):
            make("add", [1], [2], chunksize=0)
    yield Pause(0)


@promise
def test_a_prepared_method_is_called_in_every_way(client, pair: Pair) -> Script:
    add = client.method("add")
    assert (yield add(1, 2)) == 3
    assert (yield add.call(1, b=2)) == 3
    assert (yield add.fire(1, 2)) == 3
    assert (yield mapped(pair, add.map([1, 2], [3, 4]))) == [4, 6]
    assert (yield add.fire_map([1, 2], [3, 4])) == [4, 6]
    assert (yield add.options(timeout=5.0)(1, 2)) == 3
    assert (yield Items(client.method("count").stream(3))) == [0, 1, 2]
    add.notify(1, 2)
    with pytest.raises(errors.DeadlineExceeded):
        yield client.method("nap").options(timeout=0.05)(5.0)
