"""The wall clock is nobody's to trust: it is set back, as time servers and resumed virtual machines
do, and calls go on.
"""

from __future__ import annotations

import time

import pytest
from processes import eventually
from raw import Dealer, args
from ringback import errors
from ringback.protocol.messages import Call

# Runs in the server before anything is imported: each look at the wall clock shows an earlier time
# than the one before.
BACKWARDS = """
import itertools, time
looks, begun = itertools.count(), time.time()
time.time = lambda: begun - next(looks)
"""


def test_a_wall_clock_that_goes_back_holds_up_no_call(
    start_server, connected, backend, tmp_path, monkeypatch
):
    (tmp_path / "sitecustomize.py").write_text(BACKWARDS)
    with monkeypatch.context() as patched:
        patched.setenv("PYTHONPATH", str(tmp_path))
        server = start_server(backend)
    client = connected(server.endpoint).options(timeout=5.0)
    for method in ("add_inline", "add", "echo_async"):
        args = (7,) if method == "echo_async" else (3, 4)
        assert [client.call(method, *args) for _ in range(50)] == [7] * 50
    with pytest.raises(errors.RemoteError):
        client.call("fail", "on purpose")
    assert list(client.stream("count", 200)) == list(range(200))
    fired = [client.fire("add", number, 1) for number in range(500)]
    assert [future.result(5.0) for future in fired] == list(range(1, 501))


def test_a_server_ends_what_is_out_of_time_by_a_clock_that_nobody_sets(
    start_server, connected, backend, tmp_path, monkeypatch
):
    (tmp_path / "sitecustomize.py").write_text(BACKWARDS.replace("next(looks)", "60 * next(looks)"))
    with monkeypatch.context() as patched:
        patched.setenv("PYTHONPATH", str(tmp_path))
        server = start_server(backend)
    asking = connected(server.endpoint)
    with Dealer(server.endpoint) as dealer:  # which cancels nothing
        dealer.say(Call(1, "hold", args("late", 30.0), timeout=500))
        begin = time.monotonic()
        eventually(lambda: asking.call("marks", "late") == ["began", "cancelled"])
        assert time.monotonic() - begin < 10


# A wall clock that a program can set.
SETTABLE = """
import time
real, shift = time.time, [0.0]
time.time = lambda: real() + shift[0]
"""

LOOP = """
from ringback import backends

loop = backends.load("BACKEND")()
begun, rung = time.monotonic(), []

def ring(number):
    rung.append((number, round(time.monotonic() - begun, 1)))
    if number == 1:
        shift[0] -= 3600
    elif number == 2:
        shift[0] += 7200
        loop.call_later(0.2, ring, 6)
        loop.call_later(50 * 86400, ring, 9)
    elif number == 3:
        raise ValueError("on purpose")
    elif number == 5:
        late.cancel()
        loop.stop()

def start():
    global late
    late = loop.call_later(3600.0, ring, 8)
    for number in (5, 3, 1, 2, 4):
        loop.call_later(0.2 * number, ring, number)
    for _ in range(1000):
        loop.call_later(0.3, ring, 7).cancel()

loop.run(start)
print([number for number, _ in rung])
print(max(abs(seconds - 0.2 * {6: 3}.get(number, number)) for number, seconds in rung))
"""


def test_timers_ring_on_time_whatever_is_done_to_the_wall_clock(backend, run_program):
    done = run_program("-c", SETTABLE + LOOP.replace("BACKEND", backend))
    assert done.status == 0, done
    assert sorted(done.lines[0]) == sorted("[1, 2, 3, 6, 4, 5]"), done
    assert float(done.lines[1]) < 0.5, done


CLIENT = """
from ringback import errors
from ringback.clients.twisted import connect
from twisted.internet import task

async def main(reactor):
    async with connect(ENDPOINT, timeout=0.5) as client:
        await client.call("ringback.ping")
        for hours in (-1, 2):
            begun = time.monotonic()
            stream = client.stream("dripping", 1, 30.0)  # whose time the client alone keeps
            shift[0] += 3600 * hours
            try:
                await anext(stream)
            except errors.DeadlineExceeded:
                print(0.4 < time.monotonic() - begun < 5.0)
        shift[0] += 3600
        print(await client.call("nap", 0.2))

from twisted.internet.defer import ensureDeferred
task.react(lambda reactor: ensureDeferred(main(reactor)))
"""


def test_a_twisted_client_keeps_its_deadlines_whatever_is_done_to_the_wall_clock(
    running_server, backend, run_program
):
    endpoint = running_server(backend).endpoint
    done = run_program("-c", SETTABLE + CLIENT.replace("ENDPOINT", repr(endpoint)))
    assert (done.status, done.lines) == (0, ["True", "True", "0.2"]), done
