"""The native transport against libzmq at both ends, alternating: the blocking client on each
backend.

    python benchmarks/transports.py [--backend NAME]... [--rounds N]

For a lone call, and for 64 and 1,000 fired calls in flight, it gives the speed ratio and the ratio
of CPU time per call (client and server). For a 1 MiB echo, as bytes and as views, it gives the
fraction of the speed of a bare pyzmq echo without copies. Figures are medians of the rounds'
ratios, with the lowest and highest.
"""

from __future__ import annotations

import statistics
import time
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any, NamedTuple

import ringback
import zmq
from cost import processor_time
from large import BARE
from running import BACKENDS, options_of, program, server

MIB = 1024 * 1024
NATIVE, LIBZMQ = "native", "libzmq"


class Cost(NamedTuple):
    """Seconds per call."""

    wall: float
    cpu: float


def lone(client: Any, calls: int = 2000) -> int:
    for _ in range(calls):
        client.call("echo", 1)
    return calls


def fired(in_flight: int, client: Any, calls: int = 20_000) -> int:
    waiting: deque[Any] = deque()
    for _ in range(calls):
        if len(waiting) == in_flight:
            waiting.popleft().result()
        waiting.append(client.fire("echo", 1))
    for future in waiting:
        future.result()
    return calls


def large(method: str, payload: bytes, client: Any, calls: int = 60) -> int:
    for _ in range(calls):
        client.call(method, payload)
    return calls


def bare(socket: zmq.Socket[bytes], payload: bytes, calls: int = 60) -> float:
    """Seconds per echo."""
    begun = time.perf_counter()
    for _ in range(calls):
        socket.send(payload, copy=False)
        socket.recv(copy=False)
    return (time.perf_counter() - begun) / calls


def cost(work: Callable[[Any], int], client: Any, pid: int) -> Cost:
    begun, before = time.perf_counter(), processor_time("self") + processor_time(pid)
    calls = work(client)
    return Cost(
        (time.perf_counter() - begun) / calls,
        (processor_time("self") + processor_time(pid) - before) / calls,
    )


def told(ratios: list[float]) -> str:
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} .. {max(ratios):.2f})"


def main() -> None:
    parser = options_of(__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    yardstick = "tcp://127.0.0.1:5597"
    payload = b"x" * MIB
    works: dict[str, Callable[[Any], int]] = {
        "lone": lone,
        "64 in flight": partial(fired, 64),
        "1,000 in flight": partial(fired, 1000),
    }
    for backend in options.backend or BACKENDS:
        with ExitStack() as stack:
            stack.enter_context(program("-c", BARE, yardstick))
            socket = stack.enter_context(zmq.Context()).socket(zmq.DEALER)
            stack.callback(socket.close, 0)
            socket.connect(yardstick)
            ends = {}
            for name in (NATIVE, LIBZMQ):
                process, endpoint = stack.enter_context(server(backend, "--transport", name))
                client = stack.enter_context(ringback.connect(endpoint, transport=name))
                ends[name] = client, process.pid
            for name, work in works.items():
                rounds: list[dict[str, Cost]] = []
                for number in range(options.rounds + 1):  # the first is a warm-up
                    order = (NATIVE, LIBZMQ) if number % 2 else (LIBZMQ, NATIVE)
                    rounds.append({end: cost(work, *ends[end]) for end in order})
                faster = [each[LIBZMQ].wall / each[NATIVE].wall for each in rounds[1:]]
                less = [each[NATIVE].cpu / each[LIBZMQ].cpu for each in rounds[1:]]
                print(
                    f"{backend:10} {name:16} {told(faster)} times as fast, {told(less)} of the "
                    f"processor time"
                )
            client, _ = ends[NATIVE]
            views = client.options(returns=memoryview)
            for kind, end, method in (("bytes", client, "echo"), ("views", views, "mirror")):
                parts = []
                for _ in range(options.rounds):
                    beside = bare(socket, payload)
                    begun = time.perf_counter()
                    calls = large(method, payload, end)
                    parts.append(beside / ((time.perf_counter() - begun) / calls))
                print(f"{backend:10} 1 MiB as {kind:7} {told(parts)} of a bare echo", flush=True)


if __name__ == "__main__":
    main()
