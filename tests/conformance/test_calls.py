"""What a call promises: its arguments get there, its result or its error comes back."""

from __future__ import annotations

import time

import pytest
from promises import eventually, promise
from ringback import errors
from styles import Script, Together


@promise
def test_a_result_comes_back(client) -> Script:
    assert (yield client.call("add", 1, 2)) == 3


@promise
def test_every_kind_of_handler_answers(client) -> Script:
    for method in ("add", "add_inline"):
        assert (yield client.call(method, 40, 2)) == 42
    for method in ("echo", "echo.worker", "echo_async"):
        assert (yield client.call(method, "value")) == "value"


@promise
def test_positional_and_keyword_arguments_and_defaults_arrive(client) -> Script:
    assert (yield client.call("greet", "Ada")) == "hello Ada!"
    assert (yield client.call("greet", "Ada", "good day")) == "good day Ada!"
    assert (yield client.call("greet", "Ada", greeting="hi", mark="?")) == "hi Ada?"
    assert (
        yield client.call("greet", "Ada", "hi", "dear", mark="", b="2", a="1")
    ) == "hi Ada dear a=1 b=2"
    assert (yield client.call("add", b=2, a=1)) == 3


@promise
def test_methods_are_attributes_too(client) -> Script:
    assert (yield client.methods.add(1, 2)) == 3
    assert (yield client.methods.echo.worker("dotted")) == "dotted"


@promise
def test_an_argument_that_cannot_be_sent_is_refused(client) -> Script:
    for bad in (object(), {"deep": [lambda: 1]}, "\ud800"):
        with pytest.raises(errors.InvalidArgument, match=r"echo.* cannot be sent"):
            yield client.call("echo", bad)
    with pytest.raises(errors.InvalidArgument, match=r"echo.* cannot be sent"):
        yield client.fire("echo", object())
    assert (yield client.call("echo", "fine")) == "fine"


@promise
def test_a_thousand_calls_in_flight_each_get_their_own_reply(client) -> Script:
    futures = [
        client.fire(("add", "add_inline", "echo_async")[i % 3], *((i,) if i % 3 == 2 else (i, 0)))
        for i in range(1000)
    ]
    for number, future in enumerate(futures):
        assert (yield future) == number


@promise
def test_callers_at_the_same_time_each_get_their_own_reply(client) -> Script:
    soon = client.options(
        timeout=5
    )  # also where these are its first calls, and come before it is connected
    results = yield Together(*(lambda i=i: soon.call("echo", f"for {i}") for i in range(200)))
    assert results == [f"for {i}" for i in range(200)]


@promise
def test_a_slow_call_does_not_hold_up_a_fast_one(client) -> Script:
    slow = client.fire("nap", 0.6)
    start = time.monotonic()
    assert (yield client.call("add", 1, 2)) == 3
    assert time.monotonic() - start < 0.55
    assert (yield slow) == 0.6


@promise
def test_notify_returns_none_and_the_handler_runs(client, key: str) -> Script:
    assert client.notify("marked", key, 7) is None
    yield from eventually(lambda: client.call("marks", key), ["called with 7"])


@promise
def test_one_way_calls_that_go_wrong_harm_nothing(client, key: str) -> Script:
    client.notify("no_such_method")
    client.notify("marked", key, "seven")
    client.notify("fail", "nobody hears it")
    client.notify("count", 3)
    client.notify("marked", key, 8)
    yield from eventually(lambda: client.call("marks", key), ["called with 8"])


@promise
def test_describe_tells_name_methods_signatures_docstrings_and_flags(client) -> Script:
    described = yield client.describe()
    assert described["name"] == "tests"
    methods = {method["name"]: method for method in described["methods"]}
    assert not any(name.startswith("ringback.") for name in methods)
    add = methods["add"]
    assert add["signature"] == "add(a: int, b: int) -> int" or "a: 'int'" in add["signature"]
    assert add["doc"] == "Sum of two integers."
    assert add["stream"] is False
    assert methods["count"]["stream"] is True
    assert methods["echo"]["inline"] is True


@promise
def test_ping_answers(client) -> Script:
    assert (yield client.call("ringback.ping")) == "pong"
