"""A client belongs to a loop, a thread or a process: used elsewhere it says so, and what to do."""

from __future__ import annotations

import asyncio
import gc
import threading
import warnings
import weakref
from contextvars import ContextVar
from typing import Any

import pytest
import ringback
from processes import chosen_backends

ANY = chosen_backends()[0]


@pytest.fixture
def endpoint(running_server):
    return running_server(ANY).endpoint


def test_the_blocking_client_is_for_any_number_of_threads(endpoint, connected):
    client = connected(endpoint)
    right: list[int] = []

    def work(first: int) -> None:
        right.extend(n for n in range(first, first + 50) if client.call("echo", n) == n)

    threads = [threading.Thread(target=work, args=(100 * i,)) for i in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(40)
    assert len(right) == 16 * 50


def test_the_asyncio_client_on_another_loop_says_so(endpoint):
    from ringback.clients.asyncio import connect

    client = connect(endpoint)

    async def use() -> None:
        await client.call("ringback.ping")

    asyncio.run(use())
    with pytest.raises(RuntimeError, match="another asyncio loop"):
        asyncio.run(use())


def test_the_asyncio_client_outside_a_loop_says_so(endpoint):
    from ringback.clients.asyncio import connect

    with pytest.raises(RuntimeError, match="needs a running asyncio loop"):
        connect(endpoint).fire("ringback.ping")


def test_the_blocking_client_on_a_running_loop_warns_once_and_names_the_right_module(
    endpoint, connected
):
    client = connected(endpoint)

    async def use() -> list[str]:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            assert client.call("ringback.ping") == "pong"
            assert client.call("ringback.ping") == "pong"
        return [str(each.message) for each in caught if "blocking client" in str(each.message)]

    [text] = asyncio.run(use())
    assert "ringback.clients.asyncio" in text


def test_the_gevent_client_in_another_thread_says_so(endpoint):
    from ringback.clients.gevent import connect

    client = connect(endpoint)
    assert client.call("ringback.ping") == "pong"
    caught: list[BaseException] = []

    def use() -> None:
        try:
            client.call("ringback.ping")
        except RuntimeError as error:
            caught.append(error)

    thread = threading.Thread(target=use)
    thread.start()
    thread.join(10)
    client.close(now=True)
    assert "another thread" in str(caught[0])


@pytest.mark.parametrize("style", ["threading", "gevent"])
def test_a_client_from_before_a_fork_says_so_in_the_child(endpoint, run_program, style):
    done = run_program(
        "-c",
        f"""
import os, sys
from ringback.clients.{style} import connect
client = connect({endpoint!r})
assert client.call("ringback.ping") == "pong"
child = os.fork()
if child == 0:
    try:
        client.call("ringback.ping")
    except RuntimeError as error:
        print(error, flush=True)
    with connect({endpoint!r}) as other:
        print(other.call("ringback.ping"), flush=True)
    os._exit(0)
os.waitpid(child, 0)
print("parent", client.call("ringback.ping"))
""",
    )
    assert done.status == 0, done
    assert "made before a fork" in done.lines[0]
    assert done.lines[1:] == ["pong", "parent pong"]


def test_connect_gives_the_blocking_client():
    import ringback

    assert type(ringback.connect("tcp://127.0.0.1:1")).__module__ == "ringback.clients.threading"


def test_connect_gives_the_gevent_client_in_a_patched_program(endpoint, run_program):
    done = run_program(
        "-c",
        f"""
from gevent import monkey; monkey.patch_all()
import ringback
with ringback.connect({endpoint!r}) as client:
    print(type(client).__module__, client.call("ringback.ping"))
""",
    )
    assert done.lines == ["ringback.clients.gevent pong"], done


@pytest.mark.parametrize("style", ["threading", "gevent"])
def test_what_is_in_flight_when_the_interpreter_ends_is_waited_for(endpoint, run_program, style):
    done = run_program(
        "-c",
        f"""
from ringback.clients.{style} import connect
connect({endpoint!r}).fire("nap", 0.3, callback=lambda result: print("called back with", result, flush=True))
""",
    )
    assert (done.status, done.lines) == (0, ["called back with 0.3"]), done


@pytest.mark.parametrize("style", ["threading", "gevent", "asyncio", "twisted"])
def test_connecting_without_an_endpoint_is_refused(style):
    from importlib import import_module

    from ringback.errors import UsageError

    with pytest.raises(UsageError, match="endpoint"):
        import_module(f"ringback.clients.{style}").connect()


@pytest.mark.parametrize(
    "endpoint", ["", "127.0.0.1:5555", "tcp://127.0.0.1", "tcp://127.0.0.1:99999", "udp://x:1"]
)
def test_an_endpoint_that_is_none_is_refused_with_the_forms(endpoint):
    import ringback
    from ringback.errors import UsageError

    with pytest.raises(UsageError, match=r"tcp://127\.0\.0\.1:5555"):
        ringback.connect(endpoint)


@pytest.mark.parametrize("style", ["threading", "gevent"])
def test_a_cancelled_call_is_not_reported_as_lost(endpoint, run_program, style):
    done = run_program(
        "-c",
        f"""
import gc
from ringback.clients.{style} import connect
with connect({endpoint!r}) as client:
    client.fire("nap", 5.0).cancel()
    client.call("ringback.ping")
    gc.collect()
""",
    )
    assert (done.status, done.err) == (0, "")


def is_closed(end: Any) -> bool:
    """Whether the socket of an open connection has been closed, by either transport."""
    socket = getattr(end, "_socket", None)
    return socket.closed if socket is not None else end._closed and end._line is None


def test_the_asyncio_client_is_closed_after_its_loop(endpoint):
    from ringback.clients.asyncio import connect

    client = connect(endpoint)
    told: list[object] = []

    async def use() -> None:
        assert await client.call("add", 1, 2) == 3
        client.fire("nap", 30, errback=told.append).add_done_callback(lambda _: None)

    async def close() -> None:
        async with asyncio.timeout(5):
            await client.close()

    asyncio.run(use())
    ends = [wire._end for wire in client._shared.core._wires]
    asyncio.run(close())
    assert client.state == "closed"
    assert all(map(is_closed, ends))
    assert [type(error).__name__ for error in told] == ["Cancelled"]


def test_the_asyncio_client_is_not_closed_from_a_loop_beside_its_own(endpoint):
    from ringback.clients.asyncio import connect

    client = connect(endpoint)

    async def main() -> None:
        await client.call("ringback.ping")
        with pytest.raises(RuntimeError, match="close it on that one"):
            await asyncio.to_thread(lambda: asyncio.run(client.close()))
        assert await client.call("ringback.ping") == "pong"
        await client.close()

    asyncio.run(main())


def test_the_asyncio_client_keeps_nothing_of_its_callers_variables(endpoint):
    from ringback.clients.asyncio import connect

    class Request:
        pass

    request: ContextVar[Request] = ContextVar("request")

    async def main() -> None:
        client = connect(endpoint, timeout=30)

        async def caller() -> weakref.ref[Request]:
            request.set(Request())
            assert await client.call("add", 1, 2) == 3
            return weakref.ref(request.get())

        kept = await asyncio.create_task(caller())
        assert await client.call("add", 1, 2) == 3  # so that what the first has queued is done
        gc.collect()
        assert kept() is None
        await client.close()

    asyncio.run(main())


def test_close_waits_for_callbacks_whose_thread_has_yet_to_be_started(endpoint, monkeypatch):
    closing = threading.Event()
    start = threading.Thread.start

    def start_late(thread):
        if thread.name == "ringback-callbacks":
            closing.wait(5)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_late)
    client, got = ringback.connect(endpoint), []
    client.fire("echo", 1, callback=got.append).result(5)
    threading.Timer(0.1, closing.set).start()
    client.close()
    assert got == [1]


def test_listeners_that_are_due_are_called_before_close_returns(endpoint):
    from ringback.clients.asyncio import connect

    states: list[str] = []

    async def main() -> None:
        client = connect(endpoint)
        await client.call("ringback.ping")
        client.on_state(states.append)
        client._tell_state(
            "busy"
        )  # as the last thing that its transport does in this turn of the loop
        await client.close()
        assert states == ["busy"]

    asyncio.run(main())
