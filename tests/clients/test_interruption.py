"""The blocking and the gevent client under handlers of signals that raise, or call the client: at
each point of their paths, and at
random moments. No call hangs, and the client is good for the next one."""

from __future__ import annotations

import gc
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest
from interrupting import Interrupted, Points
from ringback import errors
from ringback.clients import gevent as on_gevent
from ringback.clients import threading as on_threads
from ringback.clients.connections import core
from sizes import FULL, size

# What is raised in a destructor or in what the collector calls, Python tells of and goes on.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

STYLES = {"threading": on_threads.connect, "gevent": on_gevent.connect}

# Seconds that calls have; and more than they may take.
TIMEOUT, LATE = 2.0, 4.0

# Of the points of a path, one in so many is tried, from a random one on. (All, in full size.)
STRIDES = {"call": 1, "fire": 1, "callback": 2, "stream": 37, "notify": 1, "ready": 13, "close": 5}
SIGNALS = size(400, 8000)


@pytest.fixture(params=STYLES)
def connect(request, running_server, backend) -> Iterator[Callable[[], Any]]:
    endpoint = running_server(backend).endpoint
    made = []
    before = set(core._open)

    def make(**options: Any) -> Any:
        made.append(STYLES[request.param](endpoint, timeout=TIMEOUT, **options))
        return made[-1]

    yield make
    for client in made:
        client.close(now=True)
    made.clear()
    gc.collect()  # for clients whose making was interrupted
    deadline = time.monotonic() + LATE
    while not core._open <= before:
        assert time.monotonic() < deadline, "a core is open that no client has"
        gevent.sleep(0.01)


def outcome(future: Any) -> Any:
    return future.get() if hasattr(future, "get") else future.result(TIMEOUT)


def path(name: str, client: Any, connect: Callable[..., Any]) -> None:
    if name == "call":
        assert client.call("echo", 1) == 1
    elif name == "fire":
        assert outcome(client.fire("echo", 2)) == 2
    elif name == "callback":
        assert outcome(client.fire("echo", 3, callback=lambda _: None)) == 3
    elif name == "stream":
        assert list(client.stream("count", 100)) == list(range(100))
    elif name == "notify":
        client.notify("echo", 4)
    elif name == "ready":
        for number in range(8):
            client.fire("echo", number, errback=lambda _: None)
        client.ready()
    else:
        with connect() as other:
            other.call("echo", 5)


@pytest.mark.timeout(size(60, 900))
@pytest.mark.parametrize("name", STRIDES)
def test_an_exception_at_any_point_hangs_no_call(connect, name, capsys):
    seed = int(os.environ.get("RINGBACK_SEED") or random.randrange(1 << 32))
    stride = 1 if FULL else STRIDES[name]
    client = connect(max_in_flight=4)
    assert client.call("echo", 0) == 0
    tried = raised = 0
    number = 1 + random.Random(seed).randrange(stride)
    while True:
        points = Points(number)
        start = time.monotonic()
        try:
            came_out = points.run(lambda: path(name, client, connect))
        except errors.CallError:
            came_out = False
        assert client.call("echo", number) == number, f"{points.where}, seed {seed}"
        assert time.monotonic() - start < LATE, f"{points.where}, seed {seed}"
        if not points.where:
            break
        tried, raised, number = tried + 1, raised + came_out, number + stride
    with capsys.disabled():
        print(
            f"\n{type(client).__name__}.{name}: {tried} of {points.passed} points, {raised} raised"
        )
    assert raised > tried * 0.9


@pytest.mark.parametrize("name", ["call", "fire"])
def test_a_call_from_a_handler_or_a_destructor_works_or_raises_at_once(connect, name):
    client = connect()
    assert client.call("echo", 0) == 0
    inner: list[Any] = []

    def handler() -> None:
        try:
            inner.append(client.call("echo", "from a handler"))
        except (RuntimeError, AssertionError) as error:  # gevent's own, in its hub, is the latter
            inner.append(error)

    number = 1
    while True:
        points = Points(number, handler)
        start = time.monotonic()
        path(name, client, connect)
        points.run(lambda: path(name, client, connect))
        assert time.monotonic() - start < LATE, points.where
        if not points.where:
            break
        number += 3
    told = Counter(one if isinstance(one, str) else str(one) for one in inner)
    assert any("a signal handler, a destructor" in one for one in told), told
    assert client.call("echo", 1) == 1


@pytest.mark.timeout(size(60, 600))
@pytest.mark.parametrize("others", [0, 2])
def test_signals_at_random_moments_hang_no_call(connect, others, capsys):
    client = connect()
    if others and isinstance(client, on_gevent.GeventClient):
        pytest.skip("its client belongs to one thread")
    seed = int(os.environ.get("RINGBACK_SEED") or random.randrange(1 << 32))
    chance = random.Random(seed)
    arrived, armed, over = 0, False, threading.Event()

    def handler(*_: object) -> None:
        nonlocal arrived
        arrived += 1
        if armed:
            raise Interrupted

    beside: Counter[str] = Counter()

    def call_beside() -> None:
        while not over.is_set():
            start = time.monotonic()
            try:
                beside["right" if client.call("echo", "beside") == "beside" else "wrong"] += 1
            except errors.Unavailable:
                beside["Unavailable"] += 1
            beside["late"] += time.monotonic() - start > LATE

    before = signal.signal(signal.SIGALRM, handler)
    threads = [threading.Thread(target=call_beside) for _ in range(others)]
    for thread in threads:
        thread.start()
    names, ended, slowest = ["call", "fire", "callback", "notify"], Counter[str](), 0.0
    try:
        while arrived < SIGNALS:
            start = time.monotonic()
            try:
                try:
                    armed = True
                    signal.setitimer(signal.ITIMER_REAL, chance.uniform(1e-5, 2e-3))
                    path(chance.choice(names), client, connect)
                    ended["well"] += 1
                finally:
                    armed = False
            except Interrupted:
                ended["interrupted"] += 1
            except errors.CallError as error:
                ended[type(error).__name__] += 1
            signal.setitimer(signal.ITIMER_REAL, 0)
            slowest = max(slowest, time.monotonic() - start)
    finally:
        over.set()
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    for thread in threads:
        thread.join(LATE)
        assert not thread.is_alive()
    with capsys.disabled():
        print(
            f"\n{type(client).__name__}, seed {seed}: {arrived} signals, {dict(ended)}, beside "
            f"{dict(beside)}"
        )
    assert slowest < LATE, seed
    assert beside["wrong"] == beside["late"] == 0
    assert client.call("echo", 1) == 1
