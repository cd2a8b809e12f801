"""What a call promises: its arguments get there, its result or its error comes back."""

from __future__ import annotations

import time

import pytest
from promises import Pair, eventually, promise
from ringback import errors
from styles import Pause, Script, Together


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
    assert (yield client.call("greet", "Ada", "hi", "dear", mark="", b="2", a="1")) == "hi Ada dear a=1 b=2"
    assert (yield client.call("add", b=2, a=1)) == 3


@promise
def test_methods_are_attributes_too(client) -> Script:
    assert (yield client.methods.add(1, 2)) == 3
    assert (yield client.methods.echo.worker("dotted")) == "dotted"


@promise
def test_a_wrong_argument_is_refused_with_method_argument_and_types_and_the_handler_is_not_called(
    client, key: str
) -> Script:
    for method in ("marked", "marked_inline"):
        with pytest.raises(errors.InvalidArgument) as caught:
            yield client.call(method, key, "seven")
        for word in (method, "number", "int", "str"):
            assert word in str(caught.value)
        assert caught.value.code == "INVALID_ARGUMENT"
    assert (yield client.call("marks", key)) == []


@promise
def test_missing_surplus_and_unknown_arguments_are_refused(client, key: str) -> Script:
    for args, kwargs, word in (
        ((key,), {}, "number"),
        ((key, 1, 2), {}, "too many"),
        ((key, 1), {"colour": "red"}, "colour"),
        ((key, 1), {"number": 2}, "number"),
    ):
        with pytest.raises(errors.InvalidArgument, match=word) as caught:
            yield client.call("marked", *args, **kwargs)
        assert "marked" in str(caught.value)
    assert (yield client.call("marks", key)) == []


@promise
def test_an_unknown_method_is_not_found(client) -> Script:
    with pytest.raises(errors.MethodNotFound, match="no_such_method") as caught:
        yield client.call("no_such_method", 1)
    assert caught.value.code == "UNIMPLEMENTED"


@promise
def test_an_exception_of_the_handler_arrives_with_its_type_and_message(client) -> Script:
    for method in ("fail", "fail_inline", "fail_async"):
        with pytest.raises(errors.RemoteError) as caught:
            yield client.call(method, "nothing here")
        error = caught.value
        assert (error.type, error.message, error.code) == ("LookupError", "nothing here", "UNKNOWN")
        assert "Traceback" not in str(error)


@promise
def test_every_class_of_error_arrives_as_itself(client) -> Script:
    classes = [cls for cls in map(vars(errors).get, errors.__all__) if issubclass(cls, errors.CallError)]
    assert len(classes) >= 13
    for cls in classes:
        with pytest.raises(errors.CallError) as caught:
            yield client.call("raise_error", cls.__name__, "the reason")
        assert type(caught.value) is cls
        assert caught.value.code == cls.code
        assert caught.value.message == "the reason"


@promise
def test_an_error_with_a_code_of_its_own_keeps_it(client) -> Script:
    with pytest.raises(errors.CallError, match="no such row") as caught:
        yield client.call("raise_code", "NOT_FOUND", "no such row")
    assert type(caught.value) is errors.CallError
    assert caught.value.code == "NOT_FOUND"


@promise
def test_a_result_that_cannot_be_sent_is_an_error_of_the_handler(client) -> Script:
    for method in ("unserialisable", "unserialisable_inline"):
        with pytest.raises(errors.RemoteError, match=f"{method} cannot be sent"):
            yield client.call(method)
    assert (yield client.call("add", 1, 2)) == 3


@promise
def test_a_result_over_the_limit_is_refused(client, pair: Pair) -> Script:
    small = pair.connect(max_size=200_000)
    assert len((yield small.call("blob", 150_000))) == 150_000
    with pytest.raises(errors.ResourceExhausted, match="blob"):
        yield small.call("blob", 300_000)
    assert (yield small.call("add", 1, 2)) == 3


@promise
def test_arguments_over_the_limit_are_refused(client, pair: Pair) -> Script:
    small = pair.connect(max_size=200_000)
    with pytest.raises(errors.ResourceExhausted, match="echo"):
        yield small.call("echo", bytes(300_000))
    assert (yield small.call("add", 1, 2)) == 3


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
    results = yield Together(*(lambda i=i: client.call("echo", f"for {i}") for i in range(200)))
    assert results == [f"for {i}" for i in range(200)]


@promise
def test_a_slow_call_does_not_hold_up_a_fast_one(client) -> Script:
    slow = client.fire("nap", 1.0)
    start = time.monotonic()
    assert (yield client.call("add", 1, 2)) == 3
    assert time.monotonic() - start < 0.9
    assert (yield slow) == 1.0


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


@promise
def test_a_handler_outlives_a_pause_of_its_client(client) -> Script:
    future = client.fire("nap", 0.05)
    yield Pause(0.1)
    assert (yield future) == 0.05
