"""What is dropped where little may be done: under a lock, in another thread, after its loop has
ended, at the end of the program.
"""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import time

import pytest
from processes import chosen_backends, eventually
from ringback.clients.asyncio import connect as connect_asyncio
from ringback.clients.threading import connect

ANY = chosen_backends()[0]


@pytest.fixture
def endpoint(running_server):
    return running_server(ANY).endpoint


def descriptors() -> int:
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


def test_the_finalisers_of_a_blocking_client_take_no_lock(endpoint):
    with connect(endpoint) as first:
        first.call("ringback.ping")
        before = descriptors()
    client = connect(endpoint)
    stream = client.stream("endless", "of-a-locked-client")
    next(stream)
    loop = client._shared.threads.loop
    held, dropped = threading.Event(), threading.Event()

    def hold() -> None:
        with loop.lock, loop._waking:
            held.set()
            assert dropped.wait(10)

    holder = threading.Thread(target=hold)
    holder.start()
    assert held.wait(10)
    begin = time.monotonic()
    del stream, client
    gc.collect()
    assert time.monotonic() - begin < 5
    dropped.set()
    holder.join()
    with loop.lock:  # and the same where this thread holds it
        client = connect(endpoint)
        del client
    eventually(lambda: descriptors() <= before)


def test_clients_come_back_that_a_cycle_of_garbage_has(endpoint):
    """The collector would close a socket's monitor before the socket, at which libzmq's thread
    stops for ever.
    """

    def use() -> None:
        client = connect(endpoint)
        client.call("ringback.ping")
        client.itself = client

    use()
    eventually(lambda: descriptors() > 0)
    before = descriptors()
    for _ in range(20):
        use()
    eventually(lambda: descriptors() <= before)
    with connect(endpoint) as client:
        assert client.call("add", 1, 2) == 3


@pytest.mark.parametrize("in_flight", [False, True])
def test_asyncio_clients_come_back_whose_loop_was_closed(endpoint, in_flight):
    async def use() -> None:
        client = connect_asyncio(endpoint)
        await client.call("ringback.ping")
        if in_flight:
            client.fire("nap", 30.0, errback=print)

    async def connects() -> None:
        async with connect_asyncio(endpoint) as client:
            await client.call("ringback.ping")

    asyncio.run(connects())
    before = descriptors()
    for _ in range(20):
        asyncio.run(use())
    asyncio.run(connects())  # those with calls in flight go when the next client comes
    eventually(lambda: descriptors() <= before)


def test_a_gevent_client_comes_back_that_another_thread_dropped(endpoint, run_program):
    done = run_program(
        "-c",
        f"""
import gc, os, threading, time, gevent
from ringback.clients.gevent import connect

def held():
    gc.collect()
    return len(os.listdir("/proc/self/fd"))

connect({endpoint!r}).call("ringback.ping")
gevent.sleep(1)
before = held()
clients = [connect({endpoint!r}) for _ in range(20)]
for client in clients:
    client.call("ringback.ping")
del client
thread = threading.Thread(target=clients.clear)
thread.start()
thread.join()
end = time.monotonic() + 10
while held() > before and time.monotonic() < end:
    gevent.sleep(0.05)
print(held() <= before)
""",
    )
    assert (done.status, done.lines) == (0, ["True"]), done


def test_a_gevent_client_comes_back_whose_hub_was_destroyed(endpoint, run_program):
    done = run_program(
        "-c",
        f"""
import gc, os, threading, time, gevent
from ringback.clients.gevent import connect

def held():
    gc.collect()
    return len(os.listdir("/proc/self/fd"))

def use():
    client = connect({endpoint!r})
    client.call("ringback.ping")
    gevent.get_hub().destroy(destroy_loop=True)

def in_threads(number):
    for _ in range(number):
        thread = threading.Thread(target=use)
        thread.start()
        thread.join()

in_threads(1)
time.sleep(1)
before = held()
in_threads(20)
end = time.monotonic() + 10
while held() > before and time.monotonic() < end:
    time.sleep(0.05)
print(held() <= before)
""",
    )
    assert (done.status, done.lines, done.err) == (0, ["True"], ""), done


@pytest.mark.parametrize("style", ["threading", "gevent"])
def test_what_a_forked_child_drops_is_its_parents(endpoint, run_program, style):
    done = run_program(
        "-c",
        f"""
import gc, os, signal
from ringback.clients.{style} import connect
client = connect({endpoint!r})
stream = client.stream("endless", "of-a-forked-client")
assert next(stream) == 0
child = os.fork()
if child == 0:
    signal.alarm(10)
    del stream, client
    gc.collect()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
assert [next(stream) for _ in range(200)] == list(range(1, 201))
with client:
    print(client.call("add", 1, 2))
    stream.close()
""",
    )
    assert (done.status, done.lines) == (0, ["3"]), done


# After all that ringback does at the end: libzmq's thread has time to send what was handed to it,
# on a busy machine too.
LAST = """
import atexit, time
atexit.register(time.sleep, 0.5)
"""


@pytest.mark.parametrize("style", ["threading", "gevent"])
def test_the_end_of_the_program_does_not_wait_for_a_stream(endpoint, run_program, style):
    begin = time.monotonic()
    done = run_program(
        "-c",
        LAST
        + f"""
from ringback.clients.{style} import connect
client = connect({endpoint!r})
stream = client.stream("endless", "of-a-program")
for item in stream:
    break
client.notify("marked", "of-a-program", 1)
del client
""",
    )
    assert (done.status, done.err) == (0, ""), done
    assert time.monotonic() - begin < 10
    with connect(endpoint) as client:
        eventually(lambda: sorted(client.call("marks", "of-a-program"))[:1] == ["called with 1"])


@pytest.mark.parametrize("style", ["threading", "gevent"])
def test_the_end_of_the_program_waits_for_the_calls_of_a_dropped_client(
    endpoint, run_program, style
):
    done = run_program(
        "-c",
        LAST
        + f"""
from ringback.clients.{style} import connect
for number in range(3):
    connect({endpoint!r}).notify("marked", "of-dropped-{style}", number)
""",
    )
    assert (done.status, done.err) == (0, ""), done
    with connect(endpoint) as client:
        expected = [f"called with {number}" for number in range(3)]
        eventually(lambda: sorted(client.call("marks", f"of-dropped-{style}")) == expected)


def test_a_closed_twisted_client_leaves_nothing_with_the_reactor(endpoint, run_program):
    done = run_program(
        "-c",
        f"""
import gc, weakref
from twisted.internet import reactor, task
from ringback.clients.twisted import connect

async def main(_):
    await task.deferLater(reactor, 0)
    triggers = reactor._eventTriggers["shutdown"]
    before = len(triggers.before)
    for close in (True, False):
        client = connect({endpoint!r})
        await client.call("ringback.ping")
        if close:
            await client.close()
        gone = weakref.ref(client._shared)
        del client
        while gone() is not None:
            gc.collect()
            await task.deferLater(reactor, 0.01)
        print(len(triggers.before) - before, len(reactor.getDelayedCalls()))

task.react(main)
""",
    )
    assert (done.status, done.lines) == (0, ["0 0"] * 2), done


def test_the_end_of_the_reactor_does_not_wait_for_a_stream(endpoint, run_program):
    begin = time.monotonic()
    done = run_program(
        "-c",
        f"""
from twisted.internet import task
from twisted.internet.defer import ensureDeferred
from ringback.clients.twisted import connect

kept = []

async def main(_):
    client = connect({endpoint!r})
    kept.append(client.stream("endless", "of-a-reactor"))
    async for item in kept[0]:
        break
    client.fire("nap", 0.3, callback=print)

task.react(lambda reactor: ensureDeferred(main(reactor)))
""",
    )
    assert (done.status, done.lines, done.err) == (0, ["0.3"], ""), done
    assert time.monotonic() - begin < 10


def test_a_future_calls_back_also_when_its_client_is_closed(endpoint):
    client = connect(endpoint)
    future = client.fire("add", 1, 2)
    assert future.result(10) == 3
    client.close()
    got = []
    future.add_done_callback(got.append)
    assert got == [future]
    client = connect(endpoint)
    future = client.fire("nap", 0.2)
    future.add_done_callback(got.append)  # while it is in flight
    del future, client
    eventually(lambda: len(got) == 2)
