"""One measurement in its own process; prints calls per second.

python benchmarks/drive.py KIND ENDPOINT SECONDS
"""

from __future__ import annotations

import asyncio
import itertools
import sys
import threading
import time
from collections.abc import Callable

import bare
import ringback
import zmq
from ringback.clients.asyncio import connect as connect_asyncio

MESSAGE = b"x" * 32
IN_FLIGHT = 1000
# Steps of `burn`, about 14 us of work in a server.
STEPS = 600


def call_one(endpoint: str, seconds: float) -> float:
    """The blocking client with one call in flight."""
    with ringback.connect(endpoint) as client:

        def run(seconds: float) -> float:
            calls, start = 0, time.perf_counter()
            while (now := time.perf_counter()) < start + seconds:
                for _ in range(50):
                    client.call("echo", MESSAGE)
                calls += 50
            return calls / (now - start)

        run(seconds / 4)
        return run(seconds)


def fire(endpoint: str, seconds: float, method: str = "echo", argument: object = MESSAGE) -> float:
    """The blocking client with 1,000 calls in flight and a callback for each."""
    with ringback.connect(endpoint, max_in_flight=IN_FLIGHT) as client:

        def run(seconds: float) -> float:
            done = 0
            finished = threading.Event()
            total = sys.maxsize

            def callback(_: object) -> None:
                nonlocal done
                done += 1
                if done == total:
                    finished.set()

            sent, start = 0, time.perf_counter()
            while time.perf_counter() < start + seconds:
                for _ in range(500):
                    client.fire(method, argument, callback=callback)
                sent += 500
            total = sent
            if done < sent:
                finished.wait()
            return sent / (time.perf_counter() - start)

        run(seconds / 4)
        return run(seconds)


def fire_burns(endpoint: str, seconds: float) -> float:
    """`fire` with about 14 us of work per call."""
    return fire(endpoint, seconds, "burn", STEPS)


def mapped(
    endpoint: str, seconds: float, method: str = "echo", argument: object = MESSAGE
) -> float:
    """The blocking client's `map`, 1,000 calls per message."""
    with ringback.connect(endpoint) as client:

        def run(seconds: float) -> float:
            calls, start = 0, time.perf_counter()
            results = client.map(method, itertools.repeat(argument))
            while (now := time.perf_counter()) < start + seconds:
                for _ in itertools.islice(results, IN_FLIGHT):
                    pass
                calls += IN_FLIGHT
            results.close()
            return calls / (now - start)

        run(seconds / 4)
        return run(seconds)


def pyro_batch(endpoint: str, seconds: float) -> float:
    """Pyro5's explicit batch of 1,000 calls."""
    import Pyro5.api
    from Pyro5 import config

    config.SERIALIZER = "msgpack"
    proxy = Pyro5.api.Proxy(endpoint)

    def run(seconds: float) -> float:
        calls, start = 0, time.perf_counter()
        while (now := time.perf_counter()) < start + seconds:
            batch = Pyro5.api.BatchProxy(proxy)
            for _ in range(IN_FLIGHT):
                batch.echo(MESSAGE)
            for _ in batch():
                pass
            calls += IN_FLIGHT
        return calls / (now - start)

    run(seconds / 4)
    return run(seconds)


def tasks(endpoint: str, seconds: float) -> float:
    """The asyncio client with 1,000 tasks that each await one call at a time."""

    async def main() -> float:
        async with connect_asyncio(endpoint) as client:
            calls = 0
            until = 0.0

            async def caller() -> None:
                nonlocal calls
                while time.perf_counter() < until:
                    for _ in range(10):
                        await client.call("echo", MESSAGE)
                    calls += 10

            async def run(seconds: float) -> float:
                nonlocal calls, until
                calls, start = 0, time.perf_counter()
                until = start + seconds
                await asyncio.gather(*[caller() for _ in range(IN_FLIGHT)])
                return calls / (time.perf_counter() - start)

            await run(seconds / 4)
            return await run(seconds)

    return asyncio.run(main())


def crowd(call: Callable[[], Callable[[], object]], seconds: float) -> float:
    """64 threads, each with one call at a time. Each thread gets its own function from `call`."""
    counts: list[int] = []
    over = False
    begin = threading.Barrier(65)

    def work() -> None:
        own, count = call(), 0
        own()
        begin.wait()
        while not over:
            own()
            count += 1
        counts.append(count)

    threads = [threading.Thread(target=work) for _ in range(64)]
    for thread in threads:
        thread.start()
    begin.wait()
    start = time.perf_counter()
    time.sleep(seconds)
    over = True
    for thread in threads:
        thread.join()
    return sum(counts) / (time.perf_counter() - start)


def threads(endpoint: str, seconds: float, method: str, *args: object) -> float:
    """64 threads that share one blocking client."""
    with ringback.connect(endpoint) as client:
        client.call(method, *args)
        return crowd(lambda: lambda: client.call(method, *args), seconds)


def bare_threads(endpoint: str, seconds: float) -> float:
    """64 threads, each with a bare socket."""
    context = zmq.Context()

    def connected() -> Callable[[], object]:
        socket = context.socket(zmq.DEALER)
        socket.set(zmq.LINGER, 0)
        socket.connect(endpoint)

        def call() -> None:
            socket.send(MESSAGE)
            socket.recv()

        return call

    return crowd(connected, seconds)


def pyro_threads(endpoint: str, seconds: float, method: str, *args: object) -> float:
    """64 threads, each with a Pyro5 proxy."""
    import Pyro5.api
    from Pyro5 import config

    config.SERIALIZER = "msgpack"

    def connected() -> Callable[[], object]:
        proxy = Pyro5.api.Proxy(endpoint)
        return lambda: getattr(proxy, method)(*args)

    return crowd(connected, seconds)


def on_uvloop(endpoint: str, seconds: float) -> float:
    import uvloop

    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    return tasks(endpoint, seconds)


KINDS = {
    "bare-1": lambda endpoint, seconds: bare.drive(endpoint, 1, seconds),
    "bare-1000": lambda endpoint, seconds: bare.drive(endpoint, IN_FLIGHT, seconds),
    "bare-64": bare_threads,
    "pyro-64": lambda endpoint, seconds: pyro_threads(endpoint, seconds, "echo", MESSAGE),
    "pyro-nap-64": lambda endpoint, seconds: pyro_threads(endpoint, seconds, "nap"),
    "call-1": call_one,
    "threads-64": lambda endpoint, seconds: threads(endpoint, seconds, "echo", MESSAGE),
    "nap-64": lambda endpoint, seconds: threads(endpoint, seconds, "nap"),
    "fire-1000": fire,
    "tasks-1000": tasks,
    "tasks-uvloop": on_uvloop,
    "pyro-batch": pyro_batch,
    "map-1000": mapped,
    "map-pooled": lambda endpoint, seconds: mapped(endpoint, seconds, "pooled"),
    "map-burns": lambda endpoint, seconds: mapped(endpoint, seconds, "burn", STEPS),
    "burns-1000": fire_burns,
    "pooled-1000": lambda endpoint, seconds: fire(endpoint, seconds, "pooled"),
}

if __name__ == "__main__":
    print(KINDS[sys.argv[1]](sys.argv[2], float(sys.argv[3])))
