"""What a caller does wrong, or what happens to one client, is that call's and that client's trouble alone."""

from __future__ import annotations

import asyncio

import pytest
from processes import ServerProcess
from ringback import errors
from ringback.clients.asyncio import connect as connect_asyncio
from ringback.clients.threading import connect


@pytest.fixture
def client(running_server, backend, connected):
    return connected(running_server(backend).endpoint, timeout=5)


def test_the_same_large_bytes_may_be_sent_twice_in_one_call(client):
    blob = bytes(100_000)
    assert client.call("echo", [blob, blob]) == [blob, blob]


def test_the_same_large_bytes_may_be_sent_in_many_calls_at_once(client):
    blob = bytes(100_000)
    fired = [client.fire("echo", blob) for _ in range(20)]
    assert [future.result(5) for future in fired] == [blob] * 20


@pytest.mark.parametrize(
    "value",
    [{2**70: 1}, {"deep": [{-(2**70): 1}]}, "\ud800", {"\ud800": 1}],
    ids=["key", "deep-key", "text", "text-key"],
)
def test_what_cannot_be_sent_is_an_invalid_argument_and_harms_no_other_call(client, value):
    client.call("ringback.ping")
    before, after = client.fire("nap", 0.1), client.fire("nap", 0.1)
    with pytest.raises(errors.InvalidArgument, match="cannot be sent"):
        client.call("echo", value)
    assert (before.result(5), after.result(5)) == (0.1, 0.1)


@pytest.mark.parametrize("key", ["metadata", "idempotency_key"])
def test_options_that_cannot_be_sent_are_refused_and_harm_no_other_call(client, key):
    value = {"metadata": {"a": object()}, "idempotency_key": "\ud800"}[key]
    client.call("ringback.ping")
    with pytest.raises((TypeError, ValueError, errors.InvalidArgument)):
        client.options(**{key: value}).call("echo", 1)
    assert client.call("echo", 1) == 1


@pytest.mark.parametrize("method", [5, None, b"add", "\ud800"])
def test_a_method_that_is_no_name_is_refused_here_and_harms_no_other_call(client, method):
    client.call("ringback.ping")
    with pytest.raises((TypeError, ValueError, errors.InvalidArgument)):
        client.call(method)
    assert client.call("echo", 1) == 1


def test_a_named_argument_with_a_lone_surrogate_is_refused_and_harms_no_other_call(client):
    client.call("ringback.ping")
    with pytest.raises(errors.InvalidArgument):
        client.call("greet", "Ada", **{"\ud800": "text"})
    assert client.call("echo", 1) == 1


def test_clients_that_close_while_their_server_dies_do_not_keep_the_next_from_connecting(backend):
    for _ in range(12):  # it was one in three where the link's monitor was closed before its socket
        with ServerProcess(backend) as server:
            client = connect(server.endpoint, timeout=5)
            assert client.call("ringback.ping") == "pong"
            client.close()


def test_a_call_that_cannot_be_encoded_ends_alone(running_server, backend):
    async def main() -> None:
        async with connect_asyncio(running_server(backend).endpoint) as client:
            await client.call("ringback.ping")
            others = [client.fire("add", number, 1) for number in range(10)]
            spoiled = client.fire("add", 1, 2)
            spoiled.call.message.args = object()  # as a fault of ringback's own would leave it
            others += [client.fire("add", number, 1) for number in range(10, 20)]
            with pytest.raises(errors.InvalidArgument, match="cannot be encoded"):
                await spoiled
            assert await asyncio.gather(*others) == list(range(1, 21))

    asyncio.run(main())
