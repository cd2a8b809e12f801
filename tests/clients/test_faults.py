"""What a caller does wrong, or what happens to one client, is that call's and that client's trouble
alone.
"""

from __future__ import annotations

import asyncio
import re

import pytest
from processes import TESTS, ServerProcess, chosen_backends
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


# Calls that fail, and what they leave to the garbage collector.
LEFT_BEHIND = """
import asyncio, gc, sys
from importlib import import_module

style, endpoint = sys.argv[1:]
client = import_module(f"ringback.clients.{style}").connect(endpoint, timeout=10)
CALLS = [("fail", "x"), ("add", 1, "two"), ("no_such_method",)]


def wait(future):
    future.wait() if style == "gevent" else future.exception()


def work(how):
    for call in CALLS:
        try:
            client.call(*call) if how == "call" else wait(client.fire(*call, errback=lambda error: None))
        except Exception:
            pass


async def work_async(how):
    for call in CALLS:
        try:
            await (client.call(*call) if how == "call" else client.fire(*call, errback=lambda error: None))
        except Exception:
            pass


async def main():
    for how in ("call", "fire"):
        for number in range(11):
            await work_async(how) if style == "asyncio" else work(how)
            if number == 0:
                gc.collect()  # what the first calls leave, they leave once
        print(how, gc.collect())
    await client.close() if style == "asyncio" else client.close()


gc.disable()
if style == "asyncio":
    asyncio.run(main())
else:
    try:
        main().send(None)
    except StopIteration:
        pass
"""


@pytest.mark.parametrize("style", ["threading", "gevent", "asyncio"])
def test_a_call_that_failed_leaves_nothing_to_the_garbage_collector(
    style, running_server, run_program
):
    if style == "gevent":
        pytest.importorskip("gevent")
    endpoint = running_server(chosen_backends()[0]).endpoint
    ended = run_program("-W", "ignore", "-c", LEFT_BEHIND, style, endpoint)
    assert ended.status == 0, ended
    left = dict(line.split() for line in ended.lines)
    assert list(left) == ["call", "fire"], ended
    assert all(int(objects) < 30 for objects in left.values()), (
        ended
    )  # for 30 calls; a cycle has several


# Clients until no descriptor is left, and what comes then.
TOO_MANY = """
import resource, sys, time

style, endpoint, *paths = sys.argv[1:]
sys.path[:0] = paths
from ringback import errors
from styles import STYLES, Pause

resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))
here = STYLES[style]()


def script():
    clients, refused = [], 0
    while refused < 50:
        client = here.connect(endpoint, timeout=10)
        try:
            assert (yield client.call("add", 1, 2)) == 3
            clients.append(client)
        except errors.ResourceExhausted as error:
            refused += 1
            if refused == 1:
                print(error)
    assert (yield clients[0].call("add", 1, 2)) == 3
    for one in clients:
        yield one.close()
    end = time.monotonic() + 15
    while True:
        try:
            assert (yield client.call("add", 1, 2)) == 3
            break
        except errors.ResourceExhausted:  # libzmq closes in the background
            assert time.monotonic() < end
            yield Pause(0.05)
    yield client.close()


here.run(script)
"""


@pytest.mark.parametrize("style", ["threading", "gevent", "asyncio"])
def test_a_client_for_which_there_is_no_descriptor_says_so_and_takes_none(
    style, running_server, run_program
):
    if style == "gevent":
        pytest.importorskip("gevent")
    endpoint = running_server(chosen_backends()[0]).endpoint
    ended = run_program(
        "-W", "error", "-c", TOO_MANY, style, endpoint, str(TESTS), str(TESTS / "conformance")
    )
    assert (ended.status, ended.err) == (0, ""), ended
    assert re.fullmatch(r"cannot connect.*: Too many open files in this process\n", ended.out), (
        ended
    )
