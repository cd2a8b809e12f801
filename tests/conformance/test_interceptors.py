"""The seam: an interceptor sees, changes, refuses or answers a call, the same at both ends."""

from __future__ import annotations

import pytest
from promises import promise
from ringback import errors
from styles import Items


@pytest.mark.parametrize("method", ["say", "say_inline", "say_async"])
@promise
def test_at_the_server_an_interceptor_lets_a_call_through(client, pair, method):
    other = pair.connect(pair.server("intercepted").endpoint)
    assert (yield other.call(method, "word")) == "word"


@pytest.mark.parametrize("method", ["say", "say_inline", "say_async"])
@promise
def test_at_the_server_an_interceptor_may_refuse(client, pair, method):
    other = pair.connect(pair.server("intercepted").endpoint, metadata={"wish": "refuse"})
    with pytest.raises(errors.PermissionDenied, match=f"{method} is not for you"):
        yield other.call(method, "word")


@promise
def test_at_the_server_a_refused_call_does_not_reach_the_handler(client, pair, key):
    other = pair.connect(pair.server("intercepted").endpoint)
    with pytest.raises(errors.PermissionDenied):
        yield other.options(metadata={"wish": "refuse"}).call("say", key)
    assert key not in (yield other.call("said"))


@promise
def test_at_the_server_an_interceptor_may_answer(client, pair, key):
    other = pair.connect(pair.server("intercepted").endpoint)
    answer = yield other.options(metadata={"wish": "answer"}).call("say", key)
    assert answer == "answered before the handler"
    assert key not in (yield other.call("said"))


@pytest.mark.parametrize("method", ["say", "say_inline", "say_async"])
@promise
def test_at_the_server_an_interceptor_may_replace_the_result(client, pair, method):
    other = pair.connect(pair.server("intercepted").endpoint, metadata={"wish": "replace"})
    assert (yield other.call(method, "word")) == "word, seen inside, replaced"


@pytest.mark.parametrize("method", ["say", "say_inline", "say_async"])
@promise
def test_at_the_server_an_interceptor_may_raise_afterwards(client, pair, method):
    other = pair.connect(pair.server("intercepted").endpoint, metadata={"wish": "raise"})
    with pytest.raises(errors.Aborted, match="raised after the handler"):
        yield other.call(method, "word")


@promise
def test_at_the_server_an_interceptor_may_excuse_an_error(client, pair):
    other = pair.connect(pair.server("intercepted").endpoint, metadata={"wish": "excuse"})
    assert (yield other.call("say", "fail")) == "excused LookupError"


@promise
def test_at_the_server_the_first_interceptor_is_outermost(client, pair):
    other = pair.connect(pair.server("intercepted").endpoint)
    yield other.call("order")
    yield other.call("say", "word")
    marks = yield other.call("order")
    assert marks[2:6] == ["outer in", "inner in", "inner out", "outer out"]


@promise
def test_at_the_server_an_interceptor_sees_a_stream_begin_and_end(client, pair):
    other = pair.connect(pair.server("intercepted").endpoint)
    yield other.call("order")
    assert (yield Items(other.stream("spell", "word"))) == ["w", "o", "r", "d"]
    marks = yield other.call("order")
    assert marks[2:6] == ["outer in", "inner in", "inner out", "outer out"]


@promise
def test_at_the_server_an_interceptor_may_refuse_a_stream(client, pair):
    other = pair.connect(pair.server("intercepted").endpoint, metadata={"wish": "refuse"})
    with pytest.raises(errors.PermissionDenied):
        yield Items(other.stream("spell", "word"))


@promise
def test_at_the_server_one_that_yields_twice_is_an_error(client, pair):
    other = pair.connect(pair.server("intercepted").endpoint, metadata={"wish": "twice"})
    with pytest.raises(errors.RemoteError, match="yielded more than once"):
        yield other.call("say", "word")


@promise
def test_at_the_client_an_interceptor_sees_the_call(client, pair):
    seen = []

    def watching(call):
        seen.append((call.method, call.args, call.kwargs))
        yield

    other = pair.connect(interceptors=[watching])
    assert (yield other.call("add", 1, b=2)) == 3
    assert seen == [("add", (1,), {"b": 2})]


@promise
def test_at_the_client_metadata_may_be_added(client, pair):
    def tracing(call):
        call.metadata["trace"] = 7
        yield

    other = pair.connect(interceptors=[tracing], metadata={"a": 1})
    assert (yield other.call("metadata")) == {"a": 1, "trace": 7}
    assert (yield other.fire("metadata")) == {"a": 1, "trace": 7}


@promise
def test_at_the_client_an_interceptor_may_refuse(client, pair, key):
    def refusing(call):
        raise errors.Unauthenticated("nobody knows you")
        yield

    other = pair.connect(interceptors=[refusing])
    with pytest.raises(errors.Unauthenticated):
        yield other.call("marked", key, 1)
    assert (yield client.call("marks", key)) == []


@promise
def test_at_the_client_a_refusal_reaches_the_errback(client, pair):
    def refusing(call):
        raise errors.Unauthenticated("nobody knows you")
        yield

    from promises import until

    failed = []
    pair.connect(interceptors=[refusing]).fire("add", 1, 2, errback=failed.append)
    yield from until(lambda: failed)
    assert [type(error) for error in failed] == [errors.Unauthenticated]


@promise
def test_at_the_client_an_interceptor_may_answer(client, pair):
    def answering(call):
        return "from the cache"
        yield

    other = pair.connect(interceptors=[answering])
    assert (yield other.call("no_such_method")) == "from the cache"
    assert (yield other.fire("no_such_method")) == "from the cache"


@promise
def test_at_the_client_an_interceptor_may_replace_the_result(client, pair):
    def doubling(call):
        result = yield
        return result * 2

    other = pair.connect(interceptors=[doubling])
    assert (yield other.call("add", 1, 2)) == 6
    assert (yield other.fire("add", 1, 2)) == 6


@promise
def test_at_the_client_an_interceptor_sees_the_error(client, pair):
    seen = []

    def watching(call):
        try:
            yield
        except errors.CallError as error:
            seen.append(error.code)
            raise

    other = pair.connect(interceptors=[watching])
    with pytest.raises(errors.MethodNotFound):
        yield other.call("no_such_method")
    assert seen == ["UNIMPLEMENTED"]


@promise
def test_at_the_client_an_interceptor_sees_a_stream_begin_and_end(client, pair):
    seen = []

    def watching(call):
        seen.append("begins")
        yield
        seen.append("ends")

    other = pair.connect(interceptors=[watching])
    assert (yield Items(other.stream("count", 200))) == list(range(200))
    assert seen == ["begins", "ends"]


@promise
def test_at_the_client_a_stream_through_an_interceptor_may_be_left_early(client, pair, key):
    from promises import eventually

    def watching(call):
        yield

    other = pair.connect(interceptors=[watching])
    assert (yield Items(other.stream("endless", key), limit=3)) == [0, 1, 2]
    yield from eventually(lambda: client.call("marks", key), ["closed"])


@promise
def test_at_the_client_a_call_through_an_interceptor_can_be_cancelled(client, pair, key):
    from promises import eventually

    def watching(call):
        yield

    other = pair.connect(interceptors=[watching])
    future = other.fire("hold", key)
    yield from eventually(lambda: client.call("marks", key), ["began"])
    future.cancel()
    yield from eventually(lambda: client.call("marks", key), ["began", "cancelled"])
    with pytest.raises(BaseException):  # noqa: B017, PT011 - each loop has its own error for it
        yield future


@promise
def test_an_interceptor_that_is_none_is_refused_when_connecting(client, pair):
    with pytest.raises(errors.UsageError, match="generator function"):
        pair.connect(interceptors=[lambda call: None])
    yield None
