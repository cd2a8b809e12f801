"""What goes wrong has one class for one cause, the same for every client style on every backend."""

from __future__ import annotations

import pytest
from promises import promise
from ringback import errors
from styles import Items

CLASSES = {
    name: cls
    for name, cls in vars(errors).items()
    if isinstance(cls, type) and issubclass(cls, errors.CallError) and cls is not errors.CallError
}


@pytest.mark.parametrize("method", ["marked", "marked_inline"])
@promise
def test_a_wrong_argument_is_named_with_its_method_and_the_types(client, method):
    with pytest.raises(errors.InvalidArgument) as caught:
        yield client.call(method, "key", "one")
    assert f"{method}: argument 'number'" in str(caught.value)
    assert "`int`" in str(caught.value)
    assert "`str`" in str(caught.value)


@pytest.mark.parametrize("method", ["marked", "marked_inline"])
@promise
def test_a_wrong_argument_does_not_call_the_handler(client, key, method):
    with pytest.raises(errors.InvalidArgument):
        yield client.call(method, key, "one")
    assert (yield client.call("marks", key)) == []


@promise
def test_a_wrong_named_argument_is_named(client):
    with pytest.raises(errors.InvalidArgument, match="argument 'b'"):
        yield client.call("add", 1, b=None)


@promise
def test_a_missing_argument_is_named(client):
    with pytest.raises(errors.InvalidArgument, match=r"add.*'b'"):
        yield client.call("add", 1)


@promise
def test_one_argument_too_many_is_refused(client):
    with pytest.raises(errors.InvalidArgument, match=r"add.*too many"):
        yield client.call("add", 1, 2, 3)


@promise
def test_an_unknown_named_argument_is_named(client):
    with pytest.raises(errors.InvalidArgument, match=r"add.*'c'"):
        yield client.call("add", 1, 2, c=3)


@promise
def test_a_number_is_no_boolean_and_a_boolean_no_number(client):
    with pytest.raises(errors.InvalidArgument):
        yield client.call("add", True, 2)


@promise
def test_an_unknown_method_is_not_found(client):
    with pytest.raises(errors.MethodNotFound, match="'no_such_method'"):
        yield client.call("no_such_method", 1)


@pytest.mark.parametrize("method", ["fail", "fail_inline", "fail_async"])
@promise
def test_what_a_handler_raises_arrives_with_type_and_message(client, method):
    with pytest.raises(errors.RemoteError) as caught:
        yield client.call(method, "it is not there")
    assert (caught.value.type, caught.value.message) == ("LookupError", "it is not there")


@promise
def test_what_a_handler_raises_arrives_without_a_traceback(client):
    with pytest.raises(errors.RemoteError) as caught:
        yield client.call("fail", "it is not there")
    assert "service.py" not in repr(caught.value.args) + str(caught.value)


@promise
def test_what_a_handler_raises_is_in_the_servers_log_with_its_traceback(client, pair, key):
    with pytest.raises(errors.RemoteError):
        yield client.call("fail", key)
    assert pair.server().logged(f"LookupError: {key}")
    assert "in fail\n    raise LookupError(text)" in pair.server().log


@pytest.mark.parametrize("name", CLASSES)
@promise
def test_an_error_that_a_handler_means_arrives_as_the_same_class(client, name):
    with pytest.raises(errors.CallError) as caught:
        yield client.call("raise_error", name, "a text")
    assert type(caught.value) is CLASSES[name]
    assert caught.value.code == CLASSES[name].code
    assert caught.value.message == "a text"


@promise
def test_an_error_with_a_code_of_its_own_arrives_with_it(client):
    with pytest.raises(errors.CallError) as caught:
        yield client.call("raise_code", "NOT_FOUND", "no such row")
    assert (caught.value.code, caught.value.message) == ("NOT_FOUND", "no such row")


@pytest.mark.parametrize("method", ["unserialisable", "unserialisable_inline"])
@promise
def test_a_result_that_cannot_be_sent_says_so(client, method):
    with pytest.raises(errors.RemoteError, match=f"the result of {method} cannot be sent.*object"):
        yield client.call(method)


@promise
def test_a_result_over_the_limit_is_refused_with_the_sizes(client, pair):
    small = pair.connect(max_size=100_000)
    with pytest.raises(errors.ResourceExhausted, match=r"the result of blob is too large.*200,000"):
        yield small.call("blob", 200_000)


@promise
def test_a_result_under_the_limit_comes(client, pair):
    small = pair.connect(max_size=100_000)
    assert len((yield small.call("blob", 99_000))) == 99_000


@promise
def test_an_argument_that_cannot_be_sent_is_refused_with_its_method(client):
    with pytest.raises(
        errors.InvalidArgument, match=r"the arguments of echo cannot be sent.*object"
    ):
        yield client.call("echo", object())


@promise
def test_arguments_over_the_limit_are_refused_with_the_sizes(client, pair):
    small = pair.connect(max_size=100_000)
    with pytest.raises(errors.ResourceExhausted, match=r"the arguments of echo are too large"):
        yield small.call("echo", bytes(200_000))


@promise
def test_call_on_a_stream_is_refused_with_the_remedy(client):
    with pytest.raises(errors.FailedPrecondition, match=r"count is a stream: use client\.stream"):
        yield client.call("count", 3)


@pytest.mark.parametrize("method", ["add", "add_inline"])
@promise
def test_stream_on_what_does_not_stream_is_refused_with_the_remedy(client, method):
    with pytest.raises(
        errors.FailedPrecondition, match=rf"{method} is not a stream: use client\.call"
    ):
        yield Items(client.stream(method, 1, 2))


@promise
def test_a_result_that_does_not_fit_returns_is_an_error(client):
    with pytest.raises(errors.InvalidArgument, match="the result does not fit"):
        yield client.options(returns=int).call("echo", "text")


@promise
def test_the_client_goes_on_after_an_error(client):
    with pytest.raises(errors.RemoteError):
        yield client.call("fail", "once")
    assert (yield client.call("add", 1, 2)) == 3
