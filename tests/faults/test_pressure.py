"""Floods, clients that do not read, cancels and deadlines by the thousand: memory stays bounded,
nothing is lost, others are served.
"""

from __future__ import annotations

import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import ExitStack
from typing import Self

import pytest
import zmq
from processes import SOON, chosen_backends, eventually
from raw import Watch, by_hand, resident, said, zmtp
from ringback import errors
from ringback.protocol.messages import Call, Hello
from ringback.protocol.values import pack_args
from sizes import FULL, size

MIB = 1024 * 1024
# What a process may hold on to after it was under pressure, in bytes.
GROWTH = 64 * MIB
# What answers that nobody reads may take meanwhile, of all clients together.
UNREAD = 128 * MIB
# Seconds after its time by which a call has ended. 0.05 are promised; the rest is for a busy
# machine.
PROMPT = size(0.15, 0.1)


def test_a_client_that_never_reads_is_cut_off_and_harms_nobody(start_server, connected, backend):
    server = start_server(backend)
    other = connected(server.endpoint)
    assert other.call("add", 1, 2) == 3
    with Watch(server.process.pid) as watch, Unread(server.endpoint) as greedy:
        deadline = time.monotonic() + 2 * SOON
        while "unread" not in server.log and time.monotonic() < deadline:
            greedy.ask("echo", "x" * 4096, times=1000)
            assert other.call("add", 1, 2) == 3
        assert server.logged("cut off")
    assert watch.most < watch.before + UNREAD
    eventually(lambda: resident(server.process.pid) < watch.before + GROWTH)
    assert other.call("add", 1, 2) == 3
    assert server.stop() == 0


def test_many_clients_that_never_read_are_bounded_in_sum(start_server, connected, backend):
    """150 clients, each of which asks for 6 MB in 5 KB and then reads nothing."""
    server = start_server(backend)
    other = connected(server.endpoint)
    assert other.call("add", 1, 2) == 3
    took = []
    with Watch(server.process.pid) as watch, ExitStack() as stack:
        silent = [stack.enter_context(Unread(server.endpoint)) for _ in range(150)]
        for one in silent:
            one.ask("blob", 40_000, times=150)
        end = time.monotonic() + size(2.0, 40.0)
        while time.monotonic() < end:
            begun = time.monotonic()
            assert other.call("add", 1, 2) == 3
            took.append(time.monotonic() - begun)
            time.sleep(0.01)
    assert watch.most < watch.before + UNREAD
    assert quantile(sorted(took), 0.99) < size(1.0, 0.1)
    eventually(lambda: resident(server.process.pid) < watch.before + GROWTH)
    assert server.stop() == 0


# Runs as a program: makes calls of 1 kB and cancels them, as fast as it can, and prints how much
# larger it has become meanwhile.
GIVES_UP = """
import asyncio, gc, os, signal, sys
from importlib import import_module

style, endpoint, pid, batches, size = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])
client = import_module(f"ringback.clients.{style}").connect(endpoint)

def resident():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

def give_up():
    for future in [client.fire("echo", "x" * 1000, errback=lambda _: None) for _ in range(size)]:
        future.cancel()

def report(most, before, answer):
    print(most - before, answer, flush=True)

def blocking(pause):
    client.call("ringback.ping")
    os.kill(pid, signal.SIGSTOP)
    before = most = resident()
    for _ in range(batches):
        give_up()
        pause(0.001)
        most = max(most, resident())
    os.kill(pid, signal.SIGCONT)
    report(most, before, client.call("add", 1, 2))
    client.close()

async def on_a_loop(pause):
    await client.call("ringback.ping")
    os.kill(pid, signal.SIGSTOP)
    before = most = resident()
    for _ in range(batches):
        give_up()
        await pause(0.001)
        most = max(most, resident())
    os.kill(pid, signal.SIGCONT)
    report(most, before, await client.call("add", 1, 2))
    await client.close()

if style == "threading":
    import time
    blocking(time.sleep)
elif style == "gevent":
    import gevent
    blocking(gevent.sleep)
elif style == "asyncio":
    asyncio.run(on_a_loop(asyncio.sleep))
else:
    from twisted.internet import task
    from twisted.internet.defer import ensureDeferred
    task.react(lambda reactor: ensureDeferred(on_a_loop(lambda seconds: task.deferLater(reactor, seconds))))
"""


@pytest.mark.parametrize("style", ["threading", "gevent", "asyncio", "twisted"])
def test_calls_given_up_before_a_server_that_reads_nothing_take_little(
    start_server, run_program, style
):
    server = start_server(chosen_backends()[0])
    done = run_program(
        "-c", GIVES_UP, style, server.endpoint, str(server.process.pid), str(size(8, 20)), "5000"
    )
    assert done.status == 0, done
    grown, answer = done.lines[-1].split()
    assert answer == "3"
    assert int(grown) < 32 * MIB


class Unread:
    """A client that asks and reads nothing, but for what its libzmq takes."""

    def __init__(self, endpoint: str) -> None:
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        for option, number in (
            (zmq.LINGER, 0),
            (zmq.RCVHWM, 1),
            (zmq.SNDHWM, 10),
            (zmq.RCVBUF, 4096),
            (zmq.SNDTIMEO, 2000),
            (zmq.RECONNECT_IVL, -1),
        ):
            self._socket.set(option, number)
        self._socket.connect(endpoint)
        self._socket.send_multipart(said(Hello(b"g" * 16, 1 << 30)))
        self._last = 0

    def ask(self, method: str, *values: object, times: int) -> None:
        packed = pack_args(values, MIB)
        for _ in range(0, times, 50):
            calls = [Call(self._last + number, method, packed) for number in range(1, 51)]
            self._last += 50
            try:
                self._socket.send_multipart(said(*calls))
            except zmq.Again:
                return  # the server reads nothing more from it

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._socket.close(0)
        self._context.term()


def send_for_long(connection: socket.socket, data: bytes) -> None:
    """Until nobody takes it any more; a fast machine takes a gigabyte before anybody looks."""
    deadline = time.monotonic() + SOON
    while time.monotonic() < deadline:
        connection.sendall(data)


@pytest.mark.parametrize("size", [1_000, 1_000_000])
@pytest.mark.parametrize("greets", [False, True], ids=["stranger", "client"])
def test_a_message_without_an_end_is_cut_off(start_server, connected, backend, greets, size):
    server = start_server(backend)
    other = connected(server.endpoint)
    assert other.call("add", 1, 2) == 3
    before = resident(server.process.pid)
    frames = zmtp(bytes(size), more=True) * (1_000_000 // size)
    with by_hand(server.endpoint, hello=greets) as endless, pytest.raises(ConnectionError):
        send_for_long(endless, frames)
    eventually(
        lambda: re.search(
            r"a message (without an end|of more than [\d,]+ (bytes|frames))", server.log
        )
    )
    eventually(lambda: resident(server.process.pid) < before + GROWTH)
    assert other.call("add", 1, 2) == 3
    assert server.stop() == 0


def test_a_flood_of_fired_calls_loses_no_callback_and_keeps_memory_bounded(
    start_server, connected, backend
):
    server = start_server(backend)
    client = connected(server.endpoint)
    client.call("echo", 0)
    before = resident(os.getpid()), resident(server.process.pid)
    seen: Counter[str] = Counter()
    for _ in range(200_000):
        client.fire("echo", "x", callback=lambda _: seen.update(["called"]))
    client.close(timeout=4 * SOON)
    assert seen == {"called": 200_000}
    growth = resident(os.getpid()) - before[0], resident(server.process.pid) - before[1]
    assert max(growth) < GROWTH


@pytest.mark.timeout(size(60, 600))
def test_cancels_at_any_moment_free_what_they_held_and_harm_no_other_call(
    start_server, connected, backend
):
    server = start_server(backend)
    client = connected(server.endpoint)
    assert client.call("add", 1, 2) == 3
    before = resident(os.getpid()), resident(server.process.pid)
    kept = []
    for number in range(size(10_000, 1_000_000)):
        future = client.fire("nap", random.choice([0.0, 0.001, 60.0]))
        if number % size(10, 1000) == 0:
            kept.append((number, client.fire("echo", number)))
        if random.random() < 0.5:
            time.sleep(0)
        future.cancel()
    assert [future.result(SOON) for _, future in kept] == [number for number, _ in kept]
    client.close(timeout=SOON)
    growth = resident(os.getpid()) - before[0], resident(server.process.pid) - before[1]
    assert max(growth) < GROWTH
    begun = time.monotonic()
    assert server.stop() == 0
    assert time.monotonic() - begun < SOON, "it waited for calls that were cancelled"


def test_deadlines_are_kept_under_load_and_expired_work_is_not_begun(
    start_server, connected, backend
):
    server = start_server(backend, "service", "--workers", "4")
    client = connected(server.endpoint)
    client.call("add", 1, 2)
    key, calls = f"deadlines {backend}", 2000
    ended: list[tuple[int, float, str]] = []
    futures = []
    with Lateness() as lateness:
        for number in range(calls):
            timeout = random.uniform(0.005, 0.5)
            due = time.monotonic() + timeout

            def end(outcome: str, number: int = number, due: float = due) -> None:
                ended.append((number, time.monotonic() - due, outcome))

            futures.append(
                client.options(timeout=timeout).fire(
                    "dated",
                    key,
                    0.01,
                    callback=lambda _, end=end: end("right"),
                    errback=lambda error, end=end: end(type(error).__name__),
                )
            )
            if number % 10 == 9:
                time.sleep(0.003)  # it is the server that is to be saturated
        for future in futures:
            future.exception(SOON)
    left = [float(mark) for mark in client.call("marks", key)]
    client.close()
    assert sorted(number for number, _, _ in ended) == list(range(calls))
    outcomes = Counter(outcome for _, _, outcome in ended)
    assert set(outcomes) == {"right", "DeadlineExceeded"}
    late = sorted(late for _, late, outcome in ended if outcome == "DeadlineExceeded")
    assert late[0] > -0.002, "a call ended before its time"
    machine = lateness.mostly()
    assert quantile(late, 0.5) < 0.05
    assert quantile(late, 0.9) < PROMPT + machine
    assert quantile(late, 0.99) < PROMPT + 2 * machine
    assert max(late for _, late, outcome in ended if outcome == "right") < PROMPT + 2 * machine
    # Work of 10 ms at four workers: most of it expires before its turn, and is never begun.
    assert outcomes["right"] <= len(left)
    if backend != "gevent":  # there, a worker leaves what expires and begins the next
        assert len(left) < calls / 2
    # The earliest deadline is first, so that many calls begin microseconds before theirs: the
    # handler looks at the clock some 10 us after
    # the worker has. (A busy machine may stop a worker between the two.)
    begun_late = [seconds for seconds in left if seconds < -0.0005]
    assert len(begun_late) <= len(left) / 50, f"expired work was begun: {sorted(begun_late)}"
    assert min(left) > -0.05
    assert server.stop() == 0


class Lateness:
    """How late any thread of this process is meanwhile: a few ms, but where others take the
    machine's processors.
    """

    def __init__(self) -> None:
        self._over = threading.Event()
        self._overslept: list[float] = []
        self._thread = threading.Thread(target=self._sleep)

    def _sleep(self) -> None:
        while not self._over.is_set():
            due = time.monotonic() + 0.005
            time.sleep(0.005)
            self._overslept.append(time.monotonic() - due)

    def mostly(self) -> float:
        return quantile(sorted(self._overslept), 0.95)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._over.set()
        self._thread.join()


def quantile(ordered: list[float], part: float) -> float:
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


CLIENT = """
import sys, time
import ringback
client = ringback.connect(sys.argv[1])
stream = client.stream("endless", sys.argv[2])
next(stream)
client.fire("hold", sys.argv[2])
while "began" not in client.call("marks", sys.argv[2]):
    time.sleep(0.01)
print("ready", flush=True)
time.sleep(60)
"""


def test_a_client_that_vanished_has_its_calls_cancelled(start_server, connected, backend):
    server = start_server(backend)
    client = connected(server.endpoint)
    key = "vanished"
    gone = subprocess.Popen(
        [sys.executable, "-c", CLIENT, server.endpoint, key], stdout=subprocess.PIPE
    )
    assert gone.stdout is not None
    assert gone.stdout.readline() == b"ready\n"
    gone.send_signal(signal.SIGKILL)
    gone.wait()
    gone.stdout.close()
    eventually(lambda: sorted(client.call("marks", key)) == ["began", "cancelled", "closed"])


def test_a_handler_that_blocks_delays_no_other_call(start_server, connected, backend, capsys):
    """zerorpc's case; on gevent with the native pool."""
    seconds = size(3.0, 30.0)
    server = start_server(backend)
    client, other = connected(server.endpoint), connected(server.endpoint)
    patient = client.options(timeout=None)
    blocked = [patient.fire("block_in_thread", seconds) for _ in range(4)]
    took = []
    with Lateness() as lateness:
        while not all(future.done() for future in blocked):
            begun = time.monotonic()
            assert other.call("add", 1, 2) == 3
            took.append(time.monotonic() - begun)
    for future in blocked:
        future.result()
    if FULL:
        took.sort()
        with capsys.disabled():
            print(
                f"\n{backend}: {len(took):,} calls beside handlers that block for {seconds:g} s: "
                f"p50 "
                f"{took[len(took) // 2] * 1000:.2f} ms, p99 "
                f"{took[len(took) * 99 // 100] * 1000:.2f} ms, "
                f"the slowest {took[-1] * 1000:.1f} ms"
            )
    assert quantile(sorted(took), 0.9) < 0.05 + lateness.mostly()
    assert threading.active_count() < 20


@pytest.mark.parametrize("first", [True, False])
def test_a_silent_server_ends_calls_at_their_deadline(start_server, connected, first):
    server = start_server("asyncio")
    client = connected(server.endpoint)
    if not first:
        client.call("add", 1, 2)
    server.send_signal(signal.SIGSTOP)
    try:
        with pytest.raises((errors.DeadlineExceeded, errors.Unavailable)):
            client.options(timeout=0.5).call("add", 1, 2)
    finally:
        server.send_signal(signal.SIGCONT)
    assert client.call("add", 1, 2) == 3


@pytest.mark.skipif(not FULL, reason="takes as long as ZeroMQ's heartbeats do: for RINGBACK_FULL=1")
def test_a_server_that_goes_silent_is_noticed_by_its_heartbeats(
    start_server, connected, backend, capsys
):
    server = start_server(backend)
    client = connected(server.endpoint).options(timeout=None)
    client.call("add", 1, 2)
    held = client.fire("nap", 300.0)
    begun = time.monotonic()
    server.send_signal(signal.SIGSTOP)
    try:
        with pytest.raises(errors.Unavailable):
            held.result(30)
    finally:
        server.send_signal(signal.SIGCONT)
    with capsys.disabled():
        print(f"\n{backend}: silence noticed after {time.monotonic() - begun:.1f} s")
    assert client.call("add", 1, 2) == 3
